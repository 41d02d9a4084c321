#include "sim/check_flows.h"

#include <stdlib.h>
#include <string.h>

#include "sim/recent.h"
#include "sim/world.h"

void sim_flows_close(struct sim_flows *f)
{
    for (uint32_t i = 0; i < f->names.count; i++) {
        struct sim_party *p = &f->parties[i];
        for (uint32_t k = 0; k < p->inbox_count; k++)
            free(p->inboxes[k].got.flags);
        for (uint32_t k = 0; k < p->filter_count; k++)
            free(p->filters[k]);
        free(p->inboxes);
        free(p->sent.flags);
        free(p->topics);
    }
    free(f->parties);
    sim_names_close(&f->names);
}

struct sim_party *sim_flows_party(struct sim_flows *f, const char *name)
{
    const uint32_t number = sim_names_number(&f->names, name);
    if (number >= f->size) {
        const uint32_t size = 2 * number + 16;
        f->parties = sim_more_memory(f->parties, size * sizeof(*f->parties));
        memset(f->parties + f->size, 0, (size - f->size) * sizeof(*f->parties));
        f->size = size;
    }
    return &f->parties[number];
}

bool sim_flows_read(struct sim_flows *f, struct sn_bytes payload, uint32_t *party, uint64_t *number)
{
    char name[32];
    size_t len = 0;
    while (len < payload.len && len < sizeof(name) - 1 && payload.data[len] != ':') {
        name[len] = (char)payload.data[len];
        len++;
    }
    if (len == payload.len || payload.data[len] != ':')
        return false;
    name[len++] = '\0';
    uint64_t value = 0;
    for (; len < payload.len && payload.data[len] >= '0' && payload.data[len] <= '9'; len++)
        value = value * 10 + (uint64_t)(payload.data[len] - '0');
    *party = sim_names_find(&f->names, name);
    *number = value;
    return *party != SIM_NAMES_NONE && value > 0 && value < UINT32_MAX;
}

struct sim_party *sim_flows_alike(struct sim_flows *f, struct sn_bytes payload)
{
    static const char mark[] = "=same";
    char name[32];
    size_t len = 0;
    while (len < payload.len && len < sizeof(name) - 1 && payload.data[len] != '=') {
        name[len] = (char)payload.data[len];
        len++;
    }
    name[len] = '\0';
    if (payload.len - len < sizeof(mark) - 1 ||
        memcmp(payload.data + len, mark, sizeof(mark) - 1) != 0)
        return NULL;
    const uint32_t party = sim_names_find(&f->names, name);
    return party == SIM_NAMES_NONE ? NULL : &f->parties[party];
}

static uint32_t topic_hash(struct sn_bytes topic)
{
    return (uint32_t)sim_recent_key(1, topic) | 1;
}

void sim_party_makes(struct sim_party *p, uint64_t number, struct sn_bytes topic)
{
    if (number >= p->topics_size) {
        const uint64_t size = 2 * number + 64;
        p->topics = sim_more_memory(p->topics, size * sizeof(*p->topics));
        memset(p->topics + p->topics_size, 0, (size - p->topics_size) * sizeof(*p->topics));
        p->topics_size = size;
    }
    if (p->topics[number] == 0)
        p->topics[number] = topic_hash(topic);
}

bool sim_party_made(const struct sim_party *p, uint64_t number, struct sn_bytes topic)
{
    return number >= p->topics_size || p->topics[number] == 0 ||
           p->topics[number] == topic_hash(topic);
}

uint8_t *sim_flags_at(struct sim_flags *f, uint64_t number)
{
    if (number >= f->size) {
        const uint64_t size = 2 * number + 64;
        f->flags = sim_more_memory(f->flags, size);
        memset(f->flags + f->size, 0, size - f->size);
        f->size = size;
    }
    if (number >= f->end)
        f->end = number + 1;
    return &f->flags[number];
}

struct sim_inbox *sim_party_inbox(struct sim_party *p, uint32_t sender)
{
    for (uint32_t i = 0; i < p->inbox_count; i++)
        if (p->inboxes[i].sender == sender)
            return &p->inboxes[i];
    p->inboxes = sim_more_memory(p->inboxes, (p->inbox_count + 1) * sizeof(*p->inboxes));
    p->inboxes[p->inbox_count] = (struct sim_inbox){.sender = sender};
    return &p->inboxes[p->inbox_count++];
}

bool sim_order_holds(struct sim_order *order, struct sn_bytes topic, uint8_t qos, uint64_t number)
{
    const uint64_t key = sim_recent_key(qos + 1u, topic) | 1;
    for (size_t i = 0; i < SIM_FLOW_TOPICS; i++) {
        if (order[i].topic == 0)
            order[i].topic = key;
        if (order[i].topic != key)
            continue;
        const bool holds = number > order[i].last;
        if (holds)
            order[i].last = number;
        return holds;
    }
    return true;
}
