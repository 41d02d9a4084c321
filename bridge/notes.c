#include "bridge/core.h"

#include <assert.h>

static const struct {
    const char *name;
    const char *text;
    enum bridge_note_level level;
} notes[BRIDGE_NOTE_COUNT] = {
#define NOTE(name, level, text) {#name, text, BRIDGE_LEVEL_##level},
#include "bridge/notes.def"
#undef NOTE
};

const char *bridge_note_name(enum bridge_note note)
{
    return notes[note].name;
}

const char *bridge_note_text(enum bridge_note note)
{
    return notes[note].text;
}

enum bridge_note_level bridge_note_level(enum bridge_note note)
{
    return notes[note].level;
}

static void say(struct bridge *b, enum bridge_note note, struct sn_bytes client, uint16_t link,
                struct sn_bytes detail, uint64_t number)
{
    b->status.notes[note]++;
    bridge_emit(
        b,
        &(struct bridge_action){
            .type = BRIDGE_DO_NOTE,
            .note = {
                .note = note, .client = client, .link = link, .detail = detail, .number = number}});
}

void bridge_note(struct bridge *b, enum bridge_note note, const struct session *s,
                 struct sn_bytes detail, uint64_t number)
{
    say(b, note, s == NULL ? sn_bytes(NULL, 0) : blob_bytes(s->client_id),
        s == NULL ? UINT16_MAX : s->link, detail, number);
}

void bridge_note_at(struct bridge *b, enum bridge_note note, uint16_t link, struct sn_bytes client,
                    struct sn_bytes detail, uint64_t number)
{
    say(b, note, client, link, detail, number);
}
