/* What the bridge does, in words: one line for each action, for transcripts. */
#ifndef SIM_ACTION_H
#define SIM_ACTION_H

#include "bridge/bridge.h"

/* Octets as printable text, cut after 40 of them. */
struct sim_word {
    char c[200];
};
struct sim_word sim_word(struct sn_bytes b);

/* "store 6 qos=1 plant/1/temp "21.5"", "save session 1 lazy", ... Frames are left
 * to sn_print(): the line of a SEND is empty. lanes: queues to the broker are told by
 * class and lane. Always terminated; returns its length, which is below size. */
#define SIM_ACTION_SIZE 800 /* enough for every action */
size_t sim_action_print(const struct bridge_action *a, bool lanes, char *out, size_t size);

#endif
