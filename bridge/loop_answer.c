#include "bridge/loop_parts.h"

#include <stdlib.h>
#include <string.h>

struct client_list {
    struct loop *loop;
    FILE *out;
    bool json;
    bool begun;
};

static void print_client(void *ctx, const struct bridge_client *c)
{
    struct client_list *list = ctx;
    struct loop *l = list->loop;
    char address[64] = "";
    const char *link = "";
    if (c->link != UINT16_MAX) {
        link = l->core->links[c->link].name;
        radio_base(l->links[c->link].link)
            ->ops->print_address(&c->address, address, sizeof(address));
    }
    if (list->json)
        control_print_client_json(c, link, address, loop_now_ms(l), !list->begun, list->out);
    else
        control_print_client(c, link, address, loop_now_ms(l), list->out);
    list->begun = true;
}

static void print_clients(struct loop *l, bool json, FILE *out)
{
    struct client_list list = {.loop = l, .out = out, .json = json};
    if (json)
        fprintf(out, "[");
    else
        control_print_client_head(out);
    bridge_each_client(l->bridge, print_client, &list);
    if (json)
        fprintf(out, "]\n");
}

static void print_status(struct loop *l, bool json, FILE *out)
{
    struct control_status s = {.links = l->core->link_count};
    bridge_get_status(l->bridge, &s.bridge);
    store_figures(l->store, &s.store);
    broker_figures(l->broker, &s.broker);
    s.classes = l->core->class_count;
    for (size_t i = 0; i < s.classes; i++)
        s.class_name[i] = l->core->classes[i].name;
    for (size_t i = 0; i < l->link_count; i++) {
        s.link[i].name = l->core->links[i].name;
        s.link[i].up = radio_base(l->links[i].link)->up;
        s.link[i].count = radio_base(l->links[i].link)->count;
    }
    s.broker_url = l->config->broker.url;
    s.uptime_s = (loop_now_ms(l) - l->start_ms) / 1000;
    if (json)
        control_print_json(&s, out);
    else
        control_print_text(&s, out);
}

static void print_links(struct loop *l, bool json, FILE *out)
{
    struct bridge_link_figures core[BRIDGE_LINKS_MAX];
    struct control_link links[BRIDGE_LINKS_MAX];
    bridge_get_links(l->bridge, core);
    for (size_t i = 0; i < l->link_count; i++) {
        const struct config_link *c = &l->config->links[i];
        const struct loop_link *w = &l->links[i];
        const struct radio_base *base = radio_base(w->link);
        links[i] = (struct control_link){
            .name = c->core.name,
            .place = loop_place(c),
            .up = base->up,
            .since_ms = w->since_ms,
            .in_ms = w->in_ms,
            .out_ms = w->out_ms,
            .bits_per_s = l->core->links[i].bits_per_s,
            .count = base->count,
            .core = core[i],
        };
    }
    control_print_links(links, l->link_count, loop_now_ms(l), json, out);
}

struct waiting_list {
    struct bridge_waiting *items;
    size_t count;
    size_t size;
};

static void keep_waiting(void *ctx, const struct bridge_waiting *w)
{
    struct waiting_list *list = ctx;
    if (list->count == list->size) {
        const size_t size = list->size == 0 ? 64 : 2 * list->size;
        struct bridge_waiting *items = reallocarray(list->items, size, sizeof(*items));
        if (items == NULL)
            return; /* the list is shorter then */
        list->items = items;
        list->size = size;
    }
    list->items[list->count++] = *w;
}

/* To the broker before to sensors, and in each the most messages first. */
static int compare_waiting(const void *a, const void *b)
{
    const struct bridge_waiting *x = a;
    const struct bridge_waiting *y = b;
    if (x->up != y->up)
        return x->up ? -1 : 1;
    return x->count == y->count ? 0 : x->count > y->count ? -1 : 1;
}

static void print_queue(struct loop *l, bool json, FILE *out)
{
    struct waiting_list list = {0};
    struct bridge_status s;
    bridge_get_status(l->bridge, &s);
    bridge_each_waiting(l->bridge, keep_waiting, &list);
    if (list.count > 1)
        qsort(list.items, list.count, sizeof(*list.items), compare_waiting);
    control_print_queue(&(struct control_queue){.waiting = list.items,
                                                .count = list.count,
                                                .broker_up = s.broker_up},
                        loop_now_ms(l), json, out);
    free(list.items);
}

void loop_answer(void *ctx, enum control_request request, bool json, FILE *out)
{
    switch (request) {
    case CONTROL_STATUS:
        print_status(ctx, json, out);
        return;
    case CONTROL_CLIENTS:
        print_clients(ctx, json, out);
        return;
    case CONTROL_LINKS:
        print_links(ctx, json, out);
        return;
    case CONTROL_QUEUE:
        print_queue(ctx, json, out);
        return;
    }
}
