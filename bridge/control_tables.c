#include "bridge/control.h"

typedef unsigned long long ull;

/* How long, in the largest unit that says enough: "4 s", "12 min", "3 h", "5 d". */
static const char *lasted(uint64_t then_ms, uint64_t now_ms, char *out, size_t size)
{
    const ull s = then_ms == 0 || then_ms > now_ms ? 0 : (now_ms - then_ms) / 1000;
    if (then_ms == 0)
        snprintf(out, size, "-");
    else if (s < 120)
        snprintf(out, size, "%llu s", s);
    else if (s < 120 * 60)
        snprintf(out, size, "%llu min", s / 60);
    else if (s < (ull)48 * 3600)
        snprintf(out, size, "%llu h", s / 3600);
    else
        snprintf(out, size, "%llu d", s / 86400);
    return out;
}

static const char *ago(uint64_t then_ms, uint64_t now_ms, char *out, size_t size)
{
    char time[24];
    if (then_ms == 0)
        snprintf(out, size, "never");
    else
        snprintf(out, size, "%s ago", lasted(then_ms, now_ms, time, sizeof time));
    return out;
}

/* ---- links ---------------------------------------------------------------------------- */

static void print_air(const struct bridge_link_figures *f, FILE *out)
{
    if (!f->paced) {
        fprintf(out, "  air         not paced\n");
        return;
    }
    fprintf(out, "  air         %.1f s sent in the last hour", (double)f->air_used_ms / 1000);
    if (f->air_budget_ms > 0)
        fprintf(out, " of %.1f s allowed", (double)f->air_budget_ms / 1000);
    fprintf(out, ", %u frames wait for it\n", f->air_queued);
}

static void print_round_trip(const struct bridge_link_figures *f, FILE *out)
{
    if (f->measured == 0)
        fprintf(out, "  round trip  not measured yet\n");
    else
        fprintf(out, "  round trip  %u ms (%u to %u ms, %u clients measured)\n",
                f->round_trip_mean_ms, f->round_trip_min_ms, f->round_trip_max_ms, f->measured);
}

static void print_link(const struct control_link *l, uint64_t now_ms, FILE *out)
{
    char since[32];
    char in[32];
    char sent[32];
    const struct radio_counters *c = &l->count;
    fprintf(out, "%s  %s for %s, %s\n", l->name, l->up ? "up" : "DOWN",
            lasted(l->since_ms, now_ms, since, sizeof since), l->place);
    fprintf(out, "  clients     %u, %u of them connected\n", l->core.clients, l->core.connected);
    fprintf(out, "  in          %llu frames, %llu octets; last %s\n", (ull)c->frames_in,
            (ull)c->bytes_in, ago(l->in_ms, now_ms, in, sizeof in));
    fprintf(out, "  out         %llu frames, %llu octets; last %s\n", (ull)c->frames_out,
            (ull)c->bytes_out, ago(l->out_ms, now_ms, sent, sizeof sent));
    fprintf(out,
            "  errors      %llu damaged, %llu lost coming in, %llu not sent; was lost %llu times\n",
            (ull)c->bad_frames, (ull)c->dropped_in, (ull)c->dropped_out, (ull)c->losses);
    print_round_trip(&l->core, out);
    print_air(&l->core, out);
}

/* -1: never. */
static long long age_ms(uint64_t then_ms, uint64_t now_ms)
{
    return then_ms == 0 ? -1 : (long long)(now_ms - then_ms);
}

/* A path may hold anything. */
static void json_link(const struct control_link *l, uint64_t now_ms, FILE *out)
{
    char place[512];
    const struct radio_counters *c = &l->count;
    const struct bridge_link_figures *f = &l->core;
    control_printable(sn_bytes_text(l->place), place, sizeof place);
    fprintf(out,
            "{\"link\":\"%s\",\"place\":\"%s\",\"up\":%s,\"since_ms\":%lld,\"clients\":%u,"
            "\"connected\":%u,\"frames_in\":%llu,\"frames_out\":%llu,\"bytes_in\":%llu,"
            "\"bytes_out\":%llu,\"last_in_ms\":%lld,\"last_out_ms\":%lld,\"bad_frames\":%llu,"
            "\"dropped_in\":%llu,\"dropped_out\":%llu,\"opens\":%llu,\"losses\":%llu,",
            l->name, place, l->up ? "true" : "false", age_ms(l->since_ms, now_ms), f->clients,
            f->connected, (ull)c->frames_in, (ull)c->frames_out, (ull)c->bytes_in,
            (ull)c->bytes_out, age_ms(l->in_ms, now_ms), age_ms(l->out_ms, now_ms),
            (ull)c->bad_frames, (ull)c->dropped_in, (ull)c->dropped_out, (ull)c->opens,
            (ull)c->losses);
    fprintf(out,
            "\"measured\":%u,\"round_trip_min_ms\":%u,\"round_trip_mean_ms\":%u,"
            "\"round_trip_max_ms\":%u,\"paced\":%s,\"bits_per_s\":%u,\"air_queued\":%u,"
            "\"air_used_ms\":%llu,\"air_budget_ms\":%llu}",
            f->measured, f->round_trip_min_ms, f->round_trip_mean_ms, f->round_trip_max_ms,
            f->paced ? "true" : "false", l->bits_per_s, f->air_queued, (ull)f->air_used_ms,
            (ull)f->air_budget_ms);
}

void control_print_links(const struct control_link *links, size_t count, uint64_t now_ms, bool json,
                         FILE *out)
{
    if (json)
        fprintf(out, "[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            fprintf(out, json ? ",\n" : "\n");
        if (json)
            json_link(&links[i], now_ms, out);
        else
            print_link(&links[i], now_ms, out);
    }
    if (json)
        fprintf(out, "]\n");
}

/* ---- queues ----------------------------------------------------------------------------- */

/* Payloads that are on disk only are not counted, but guessed by the others. */
static ull octets(const struct bridge_waiting *w)
{
    return w->in_memory == 0 ? 0
                             : (ull)((double)w->bytes / (double)w->in_memory * (double)w->count);
}

static void print_waiting(const struct bridge_waiting *w, const char *name, uint64_t now_ms,
                          FILE *out)
{
    char age[32];
    char size[32] = "-";
    if (w->in_memory > 0)
        snprintf(size, sizeof size, "%s%llu", w->in_memory < w->count ? "~" : "", octets(w));
    fprintf(out, "%-9s %-23s %12llu %12s %10s %10u\n", w->up ? "to broker" : "to sensor", name,
            (ull)w->count, size, lasted(w->oldest_ms, now_ms, age, sizeof age), w->undecided);
}

static void json_waiting(const struct bridge_waiting *w, const char *name, uint64_t now_ms,
                         FILE *out)
{
    fprintf(out,
            "{\"direction\":\"%s\",\"client\":\"%s\",\"messages\":%llu,\"in_memory\":%llu,"
            "\"bytes\":%llu,\"bytes_are_known\":%s,\"oldest_ms\":%lld,\"undecided\":%u}",
            w->up ? "up" : "down", name, (ull)w->count, (ull)w->in_memory, octets(w),
            w->in_memory == w->count ? "true" : "false", age_ms(w->oldest_ms, now_ms),
            w->undecided);
}

static void print_totals(const struct control_queue *q, FILE *out)
{
    ull up = 0;
    ull down = 0;
    ull clients = 0;
    for (size_t i = 0; i < q->count; i++) {
        *(q->waiting[i].up ? &up : &down) += q->waiting[i].count;
        clients += !q->waiting[i].up;
    }
    fprintf(out, "%llu messages wait for the broker, which is %s; %llu for %llu sensors\n\n", up,
            q->broker_up ? "connected" : "NOT CONNECTED", down, clients);
    fprintf(out, "%-9s %-23s %12s %12s %10s %10s\n", "", "client", "messages", "octets", "oldest",
            "undecided");
}

void control_print_queue(const struct control_queue *q, uint64_t now_ms, bool json, FILE *out)
{
    char name[200];
    if (json)
        fprintf(out, "[");
    else
        print_totals(q, out);
    for (size_t i = 0; i < q->count; i++) {
        const struct bridge_waiting *w = &q->waiting[i];
        control_printable(w->client, name, sizeof name);
        if (json && i > 0)
            fprintf(out, ",\n");
        if (json)
            json_waiting(w, name, now_ms, out);
        else
            print_waiting(w, name[0] == '\0' ? "(all)" : name, now_ms, out);
    }
    if (json)
        fprintf(out, "]\n");
}
