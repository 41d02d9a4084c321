#include "sim/transcript.h"

#include <inttypes.h>

#include "sim/action.h"
#include "sim/world.h"

static void stamp(FILE *out, const struct sim_record *r, const char *who)
{
    fprintf(out, "[%5" PRIu64 ".%03" PRIu64 "] %-6s ", r->at_us / SIM_S, r->at_us % SIM_S / SIM_MS,
            who);
}

static const char *device_of(const struct sim_record *r)
{
    return r->device == NULL ? "(all)" : r->device;
}

static void frame(FILE *out, const struct sim_record *r)
{
    struct sn_packet p;
    char text[SN_PRINT_SIZE];
    stamp(out, r, device_of(r));
    const enum sn_fault fault = sn_decode(r->bytes, &p);
    if (fault == SN_OK || sn_fault_is_answerable(fault))
        sn_print(&p, text, sizeof(text));
    else
        snprintf(text, sizeof(text), "%zu octets, %s", r->bytes.len, sn_fault_name(fault));
    fprintf(out, "%c %s\n", r->direction == SIM_UP ? '>' : '<', text);
}

/* What became of a frame that stands above. */
static void fate(FILE *out, const struct sim_record *r, const char *what)
{
    struct sn_packet p;
    const bool known = sn_decode(r->bytes, &p) == SN_OK;
    stamp(out, r, device_of(r));
    fprintf(out, "%c (%s %s)\n", r->direction == SIM_UP ? '>' : '<',
            known ? sn_type_name((uint8_t)p.type) : "frame", what);
}

static void lost(FILE *out, const struct sim_record *r)
{
    char what[64];
    snprintf(what, sizeof(what), "lost: %s", r->why);
    fate(out, r, what);
}

static void action(FILE *out, const struct sim_record *r)
{
    char text[SIM_ACTION_SIZE];
    if (r->action->type == BRIDGE_DO_SEND)
        return; /* the link says it */
    sim_action_print(r->action, false, text, sizeof(text));
    stamp(out, r, "bridge");
    fprintf(out, "  %s\n", text);
}

/* What comes from the broker; the rest follows from other lines. */
static void event(FILE *out, const struct sim_record *r)
{
    const struct bridge_event *e = r->event;
    if (e->type == BRIDGE_ON_DELIVERED) {
        stamp(out, r, "broker");
        fprintf(out, "  delivered %" PRIu64, e->delivered.seq);
        if (e->delivered.code != 0)
            fprintf(out, " code 0x%02x", e->delivered.code);
        fputc('\n', out);
    } else if (e->type == BRIDGE_ON_MESSAGE) {
        stamp(out, r, "broker");
        fprintf(out, "  message qos=%u%s %s \"%s\"", e->message.qos,
                e->message.retain ? " retain" : "", sim_word(e->message.topic).c,
                sim_word(e->message.payload).c);
        if (e->message.token != 0)
            fprintf(out, " token %" PRIu64, e->message.token);
        fputc('\n', out);
    }
}

static void message(FILE *out, const struct sim_record *r, const char *who, const char *verb)
{
    stamp(out, r, who);
    fprintf(out, "  %s", verb);
    if (r->message != NULL) {
        fprintf(out, " %s", sim_word(r->message->topic).c);
        if (r->message->payload.len > 0)
            fprintf(out, " \"%s\"", sim_word(r->message->payload).c);
    }
    if (r->why != NULL && r->type == SIM_DEVICE_GIVES_UP)
        fprintf(out, ": %s", r->why);
    fputc('\n', out);
}

static void line(FILE *out, const struct sim_record *r, const char *who, const char *text)
{
    stamp(out, r, who);
    fprintf(out, "  %s\n", text);
}

static void number(FILE *out, const struct sim_record *r, const char *verb)
{
    stamp(out, r, "disk");
    fprintf(out, "  %s %" PRIu64 "\n", verb, r->number);
}

static void link_state(FILE *out, const struct sim_record *r, const char *verb)
{
    stamp(out, r, r->link == NULL ? "link" : r->link);
    fprintf(out, "  %s%s%s\n", verb, r->why == NULL ? "" : ": ", r->why == NULL ? "" : r->why);
}

void sim_transcript_hear(void *ctx, const struct sim_record *r)
{
    FILE *out = ctx;
    switch (r->type) {
    case SIM_FRAME_SENT:
        frame(out, r);
        return;
    case SIM_FRAME_LOST:
        lost(out, r);
        return;
    case SIM_FRAME_DAMAGED:
        fate(out, r, "damaged");
        return;
    case SIM_FRAME_COPIED:
        fate(out, r, "arrives twice");
        return;
    case SIM_LINK_UP:
        link_state(out, r, "up");
        return;
    case SIM_LINK_DOWN:
        link_state(out, r, "down");
        return;
    case SIM_BRIDGE_EVENT:
        event(out, r);
        return;
    case SIM_BRIDGE_ACTION:
        action(out, r);
        return;
    case SIM_BRIDGE_STARTED:
        line(out, r, "bridge", "runs");
        return;
    case SIM_BRIDGE_KILLED:
        line(out, r, "bridge", r->why);
        return;
    case SIM_STORED:
        number(out, r, "stored");
        return;
    case SIM_STORE_FAILED:
        number(out, r, "refuses the messages up to");
        return;
    case SIM_BROKER_UP:
        line(out, r, "broker", r->why[0] == 's' ? "connected, session present" : "connected");
        return;
    case SIM_BROKER_DOWN:
        line(out, r, "broker", r->why);
        return;
    case SIM_BROKER_HAS:
        message(out, r, "broker", "has");
        return;
    case SIM_DEVICE:
        message(out, r, device_of(r), r->why);
        return;
    case SIM_DEVICE_PUBLISHES:
        message(out, r, device_of(r), "publishes");
        return;
    case SIM_DEVICE_GIVES_UP:
        message(out, r, device_of(r), "gives up");
        return;
    case SIM_DEVICE_ACCEPTED:
        message(out, r, device_of(r), "accepted");
        return;
    case SIM_DEVICE_GOT:
        message(out, r, device_of(r), "got");
        return;
    case SIM_FAULT:
        line(out, r, "fault", r->text);
        return;
    case SIM_NOTE:
        line(out, r, "note", r->text);
        return;
    case SIM_FRAME_STARTED:
    case SIM_FRAME_ARRIVED:
    case SIM_LINK_COST:
    case SIM_BROKER_SENDS:
        return;
    }
}
