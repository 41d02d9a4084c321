#include "sim/sweep.h"

#include "sim/world.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool sim_sweep_add(struct sim_sweep *s, const char *axis, FILE *errors)
{
    const size_t len = strcspn(axis, "=");
    if (axis[len] != '=' || len == 0 || len > SIM_PARAMETER_NAME_MAX) {
        fprintf(errors, "sweep %s: NAME=VALUE,VALUE,... is wanted\n", axis);
        return false;
    }
    if (s->count == SIM_SWEEP_AXES) {
        fprintf(errors, "sweep %s: there are %d already\n", axis, SIM_SWEEP_AXES);
        return false;
    }
    struct sim_sweep_axis *a = &s->axis[s->count];
    *a = (struct sim_sweep_axis){0};
    memcpy(a->name, axis, len);
    for (const char *at = axis + len; *at != '\0';) {
        const size_t size = strcspn(++at, ",");
        if (size > SIM_PARAMETER_VALUE_MAX || a->count == SIM_SWEEP_VALUES) {
            fprintf(errors, "sweep %s: more than %d octets in a value, or more than %d values\n",
                    axis, SIM_PARAMETER_VALUE_MAX, SIM_SWEEP_VALUES);
            return false;
        }
        memcpy(a->value[a->count++], at, size);
        at += size;
    }
    s->count++;
    return true;
}

uint32_t sim_sweep_runs(const struct sim_sweep *s)
{
    uint32_t runs = 1;
    for (uint32_t i = 0; i < s->count; i++)
        runs *= s->axis[i].count;
    return runs;
}

static const char *value_of(const struct sim_sweep *s, uint32_t run, uint32_t axis)
{
    for (uint32_t i = s->count - 1; i > axis; i--)
        run /= s->axis[i].count;
    return s->axis[axis].value[run % s->axis[axis].count];
}

void sim_sweep_choose(const struct sim_sweep *s, uint32_t run, struct sim_parameters *p)
{
    for (uint32_t i = 0; i < s->count; i++) {
        char assignment[SIM_PARAMETER_NAME_MAX + SIM_PARAMETER_VALUE_MAX + 2];
        snprintf(assignment, sizeof assignment, "%s=%s", s->axis[i].name, value_of(s, run, i));
        sim_parameters_set(p, assignment, stderr);
    }
}

/* RFC 4180: quotes around, and quotes in it twice, where it needs that. */
static void put_text(const char *text, FILE *csv)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, csv);
        return;
    }
    fputc('"', csv);
    for (; *text != '\0'; text++)
        fprintf(csv, *text == '"' ? "\"\"" : "%c", *text);
    fputc('"', csv);
}

void sim_sweep_write_head(const struct sim_sweep *s, FILE *csv)
{
    for (uint32_t i = 0; i < s->count; i++) {
        put_text(s->axis[i].name, csv);
        fputc(',', csv);
    }
    fputs("seed,run_s,devices,published,accepted,delivered,again,given_up,accepted_percent,"
          "delivered_percent,copies,delay_median_s,delay_90_s,delay_99_s,delay_max_s,"
          "accept_median_s,down_published,down_delivered,down_again,down_delay_median_s,"
          "frames,frames_lost,air_octets,payload_octets,repeat_octets,air_busy_percent,cost,"
          "faults\n",
          csv);
}

static void put_seconds(uint64_t us, FILE *csv)
{
    fprintf(csv, ",%" PRIu64 ".%03" PRIu64, us / SIM_S, us % SIM_S / SIM_MS);
}

static void put_percent(uint64_t part, uint64_t whole, FILE *csv)
{
    const uint64_t share = whole == 0 ? 0 : part * 10000 / whole;
    fprintf(csv, ",%" PRIu64 ".%02" PRIu64, share / 100, share % 100);
}

static void put_figures(const struct sim_flow *f, const struct sim_measure *m, FILE *csv)
{
    const uint64_t copies = sim_measure_copies(m, SIM_UP);
    fprintf(csv, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, f->published,
            f->accepted, f->delivered, f->again, f->given_up);
    put_percent(f->accepted, f->published, csv);
    put_percent(f->delivered, f->published, csv);
    fprintf(csv, ",%" PRIu64 ".%02" PRIu64, copies / 100, copies % 100);
    put_seconds(sim_histogram_percentile(&f->delay, 500), csv);
    put_seconds(sim_histogram_percentile(&f->delay, 900), csv);
    put_seconds(sim_histogram_percentile(&f->delay, 990), csv);
    put_seconds(f->delay.max_us, csv);
    put_seconds(sim_histogram_percentile(&f->accept_delay, 500), csv);
}

static void put_links(const struct sim_measure *m, FILE *csv)
{
    uint64_t frames = 0;
    uint64_t lost = 0;
    uint64_t bits = 0;
    uint64_t busy_us = 0;
    uint64_t cost = 0;
    for (uint32_t i = 0; i < m->links.count; i++) {
        const struct sim_link_figures *link = m->link[i];
        frames += link->frames[SIM_UP] + link->frames[SIM_DOWN];
        busy_us += link->busy_us[SIM_UP] + link->busy_us[SIM_DOWN];
        cost += link->cost;
    }
    for (uint32_t i = 0; i < m->losses; i++)
        lost += m->loss[i].frames[SIM_UP] + m->loss[i].frames[SIM_DOWN];
    for (int kind = 0; kind < SIM_AIR_COUNT; kind++)
        bits += sim_measure_air_bits(m, (enum sim_air)kind);
    fprintf(csv, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, frames, lost,
            bits / 8, sim_measure_air_bits(m, SIM_AIR_PAYLOAD) / 8,
            sim_measure_air_bits(m, SIM_AIR_REPEAT) / 8);
    put_percent(busy_us, m->links.count * m->end_us, csv);
    fprintf(csv, ",%" PRIu64 ".%02" PRIu64, cost / 100, cost % 100);
}

void sim_sweep_write_row(const struct sim_sweep *s, uint32_t run, uint64_t seed,
                         const struct sim_measure *m, uint64_t faults, FILE *csv)
{
    struct sim_flow *up = sim_measure_flow(m, SIM_UP);
    struct sim_flow *down = sim_measure_flow(m, SIM_DOWN);

    for (uint32_t i = 0; i < s->count; i++) {
        put_text(value_of(s, run, i), csv);
        fputc(',', csv);
    }
    fprintf(csv, "%" PRIu64, seed);
    put_seconds(m->end_us, csv);
    fprintf(csv, ",%" PRIu32, m->devices.count);
    put_figures(up, m, csv);
    fprintf(csv, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, down->published, down->delivered,
            down->again);
    put_seconds(sim_histogram_percentile(&down->delay, 500), csv);
    put_links(m, csv);
    fprintf(csv, ",%" PRIu64 "\n", faults);
    free(up);
    free(down);
}
