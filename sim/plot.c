#include "sim/plot.h"

#include "sim/words.h"
#include "sim/world.h"

#include <inttypes.h>
#include <string.h>

#define WIDTH 960

#define BLUE   "#3b82f6"
#define GREEN  "#86c99a"
#define GREY   "#94a3b8"
#define RED    "#ef4444"
#define ORANGE "#f59e0b"
#define VIOLET "#8b5cf6"
#define TEAL   "#14b8a6"

static void begin(FILE *s, const char *name, unsigned height)
{
    fprintf(s,
            "set terminal svg size %u,%u font 'sans-serif,13' name '%s' noenhanced\n"
            "set border 3\nset tics nomirror\n"
            "set grid ytics lc rgb 'gray' lw 0.5 lt 1\n",
            WIDTH, height, name);
}

/* In double quotes gnuplot knows escapes and newlines; of what could begin one, or end
 * the text, nothing is left. */
static void put_text(FILE *s, const char *text)
{
    fputc('"', s);
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '"')
            fputc('\'', s);
        else
            fputc(c < ' ' || c == '\\' || c == '`' ? '?' : c, s);
    }
    fputc('"', s);
}

/* An axis that shows this much; gnuplot complains of an empty one. */
static uint64_t at_least_one(uint64_t n)
{
    return n > 0 ? n : 1;
}

/* A scale for times that reach this far. */
struct scale {
    const char *name;
    uint64_t unit_us;
};

static struct scale scale_for(uint64_t end_us)
{
    static const struct scale scales[] = {
        {"seconds", SIM_S},
        {"minutes", 60 * SIM_S},
        {"hours", 3600 * SIM_S},
    };
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++)
        if (end_us < 150 * scales[i].unit_us)
            return scales[i];
    return (struct scale){"days", 86400 * SIM_S};
}

static double scaled(uint64_t us, struct scale scale)
{
    return (double)us / (double)scale.unit_us;
}

/* ---- timeline ------------------------------------------------------------- */

static uint32_t links_shown(const struct sim_measure *m)
{
    return m->links.count < SIM_PLOT_LINKS_MAX ? m->links.count : SIM_PLOT_LINKS_MAX;
}

/* A box of a strip: from and to are slices, the share is in 1000ths of the width. */
enum layer {
    LAYER_DOWN,
    LAYER_BUSY,
    LAYER_LOST,
};

static uint64_t layer_value(const struct sim_measure *m, const struct sim_link_slice *slice,
                            enum layer layer)
{
    switch (layer) {
    case LAYER_DOWN: {
        /* A short contact in a long slice is to be seen all the same, */
        const uint64_t share = slice->down_us * 1000 / m->width_us;
        return slice->down_us < m->width_us && share > 600 ? 600 : share;
    }
    case LAYER_BUSY: {
        /* and so is a frame. Both directions may be busy at a time. */
        const uint64_t share = slice->busy_us * 1000 / m->width_us;
        return slice->busy_us == 0 ? 0 : share < 200 ? 200 : share < 1000 ? share : 1000;
    }
    case LAYER_LOST:
        return slice->lost > 0 ? 1000 : 0;
    }
    return 0;
}

/* Boxes of one colour, for all strips; slices that are alike share one. */
static void put_layer(const struct sim_measure *m, FILE *s, struct scale scale, enum layer layer)
{
    const uint32_t links = links_shown(m);
    fprintf(s, "$layer%d << EOD\n0\t0\t0\t0\n", (int)layer);
    for (uint32_t l = 0; l < links; l++) {
        const double base = links - l - 1;
        const double bottom = base + (layer == LAYER_LOST ? 0.7 : 0);
        const double height = layer == LAYER_LOST ? 0.12 : 0.68;
        uint32_t first = 0;
        for (uint32_t i = 1; i <= m->slices; i++) {
            const uint64_t value = layer_value(m, &m->link[l]->slice[first], layer);
            if (i < m->slices && layer_value(m, &m->link[l]->slice[i], layer) == value)
                continue;
            if (value > 0)
                fprintf(s, "%.6g\t%.6g\t%.6g\t%.6g\n", scaled(first * m->width_us, scale),
                        scaled(i * m->width_us, scale), bottom,
                        bottom + height * (double)value / 1000);
            first = i;
        }
    }
    fputs("EOD\n", s);
}

static uint64_t deepest(const struct sim_measure *m)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < m->slices; i++) {
        const struct sim_depth d = m->depth[i];
        most = d.devices > most ? d.devices : most;
        most = d.to_broker > most ? d.to_broker : most;
        most = d.to_devices > most ? d.to_devices : most;
    }
    return at_least_one(most);
}

static void put_depths(const struct sim_measure *m, FILE *s, struct scale scale)
{
    fputs("$depth << EOD\n", s);
    for (uint32_t i = 0; i < m->slices; i++)
        fprintf(s, "%.6g\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n", scaled(i * m->width_us, scale),
                m->depth[i].devices, m->depth[i].to_broker, m->depth[i].to_devices);
    fputs("EOD\n", s);
}

void sim_plot_timeline(const struct sim_measure *m, FILE *s)
{
    const struct scale scale = scale_for(m->end_us);
    const double end = scaled(m->end_us > 0 ? m->end_us : SIM_S, scale);
    const uint32_t links = links_shown(m);
    const unsigned strips = 60 + 44 * links;
    const unsigned height = strips + 300;
    const double split = 1 - (double)strips / height;

    begin(s, "timeline", height);
    for (int layer = LAYER_DOWN; layer <= LAYER_LOST; layer++)
        put_layer(m, s, scale, (enum layer)layer);
    put_depths(m, s, scale);
    fprintf(s,
            "set multiplot\nset lmargin 14\nset rmargin 3\nset xrange [0:%.6g]\n"
            "set origin 0,%.4f\nset size 1,%.4f\nset bmargin 0\nset tmargin 3\n"
            "set key tmargin right horizontal\n"
            "unset xtics\nset border 0\nset yrange [0:%" PRIu32
            "]\nunset grid\nset ytics scale 0 (",
            end, split, 1 - split, links > 0 ? links : 1);
    for (uint32_t l = 0; l < links; l++) {
        fputs(l > 0 ? ", " : "", s);
        put_text(s, m->links.name[l]);
        fprintf(s, " %.2f", links - l - 1 + 0.35);
    }
    fputs(")\nset style fill solid 1.0 noborder\n$up << EOD\n", s);
    for (uint32_t l = 0; l < links; l++)
        fprintf(s, "0\t%.6g\t%" PRIu32 "\t%.2f\n", end, l, l + 0.68);
    fprintf(s,
            "0\t0\t0\t0\nEOD\n"
            "plot $up using 1:3:1:2:3:4 with boxxyerror lc rgb '" GREEN "' title 'up',"
            " $layer%d using 1:3:1:2:3:4 with boxxyerror lc rgb '" GREY "' title 'down',"
            " $layer%d using 1:3:1:2:3:4 with boxxyerror lc rgb '" BLUE "' title 'sending',"
            " $layer%d using 1:3:1:2:3:4 with boxxyerror lc rgb '" RED "' title 'frames lost'\n",
            LAYER_DOWN, LAYER_BUSY, LAYER_LOST);
    fprintf(s,
            "set origin 0,0\nset size 1,%.4f\nset tmargin 3\nset bmargin 4\nset border 3\n"
            "set xtics auto\nset ytics scale 1 auto\nset grid ytics lc rgb 'gray' lw 0.5 lt 1\n"
            "set yrange [0:%.6g]\nset xlabel '%s'\nset ylabel 'messages waiting'\n"
            "plot $depth using 1:2 with steps lw 2 lc rgb '" ORANGE "' title 'in devices',"
            " $depth using 1:3 with steps lw 2 lc rgb '" BLUE "' title 'in the bridge, for the "
            "broker',"
            " $depth using 1:4 with steps lw 2 lc rgb '" VIOLET "' title 'in the bridge, for "
            "devices'\nunset multiplot\n",
            split, 1.05 * (double)deepest(m), scale.name);
}

/* ---- delays ---------------------------------------------------------------- */

static const char *const colours[2][3] = {{GREY, BLUE, TEAL}, {ORANGE, VIOLET, RED}};

static void put_delays(FILE *s, const struct sim_histogram *h, int direction, int qos)
{
    uint64_t seen = 0;
    fprintf(s, "$d%d%d << EOD\n", direction, qos);
    for (uint32_t i = 0; i < SIM_HISTOGRAM_BUCKETS && seen < h->count; i++) {
        if (h->bucket[i] == 0)
            continue;
        const uint64_t bound = sim_histogram_bound(i);
        const uint64_t us = bound < h->max_us ? bound : h->max_us;
        if (seen == 0) /* the curve starts from nothing */
            fprintf(s, "%.6g\t0\n", (double)(us > 1000 ? us : 1000) / 1e6);
        seen += h->bucket[i];
        fprintf(s, "%.6g\t%.6g\n", (double)(us > 1000 ? us : 1000) / 1e6,
                100 * (double)seen / (double)h->count);
    }
    fputs("EOD\n", s);
}

void sim_plot_delays(const struct sim_measure *m, FILE *s)
{
    const char *comma = "";
    uint64_t shortest = SIM_S;
    begin(s, "delays", 360);
    for (int direction = 0; direction < 2; direction++)
        for (int qos = 0; qos < 3; qos++) {
            const struct sim_histogram *h = &m->flow[direction][qos].delay;
            const uint64_t first = sim_histogram_percentile(h, 1);
            shortest = h->count > 0 && first < shortest ? first : shortest;
            put_delays(s, h, direction, qos);
        }
    fprintf(s, "set xrange [%.6g:*]\n", (double)(shortest > 2000 ? shortest : 2000) / 2e6);
    fputs("set logscale x\nset yrange [0:100]\nset key bottom right\n"
          "set grid xtics ytics lc rgb 'gray' lw 0.5 lt 1\nset ytics format '%.0f %%'\n"
          "set xtics ('1 ms' 0.001, '10 ms' 0.01, '0.1 s' 0.1, '1 s' 1, '10 s' 10, '1 min' 60,"
          " '10 min' 600, '1 h' 3600, '6 h' 21600, '1 d' 86400, '7 d' 604800, '30 d' 2592000)\n"
          "set xlabel 'delivered within'\nset ylabel 'share of what was delivered'\nplot ",
          s);
    for (int direction = 0; direction < 2; direction++)
        for (int qos = 0; qos < 3; qos++)
            if (m->flow[direction][qos].delay.count > 0) {
                fprintf(s, "%s$d%d%d using 1:2 with lines lw 2.5 lc rgb '%s' title 'QoS %d %s'",
                        comma, direction, qos, colours[direction][qos], qos,
                        direction == SIM_UP ? "to the broker" : "to devices");
                comma = ", ";
            }
    fputs(*comma == '\0' ? "1/0 notitle\n" : "\n", s);
}

/* ---- the air ---------------------------------------------------------------- */

static uint64_t octets_of(const struct sim_link_figures *link, int direction)
{
    uint64_t bits = 0;
    for (int kind = 0; kind < SIM_AIR_COUNT; kind++)
        bits += link->air_bits[direction][kind];
    return (bits + 7) / 8;
}

void sim_plot_air(const struct sim_measure *m, FILE *s)
{
    static const char *const fill[SIM_AIR_COUNT] = {
        [SIM_AIR_PAYLOAD] = BLUE,   [SIM_AIR_HEADER] = TEAL,      [SIM_AIR_ACK] = GREEN,
        [SIM_AIR_SESSION] = VIOLET, [SIM_AIR_KEEPALIVE] = ORANGE, [SIM_AIR_REPEAT] = RED,
        [SIM_AIR_FRAMING] = GREY,
    };
    const uint32_t links = links_shown(m);
    char words[SIM_WORDS_SIZE];
    uint64_t most = 0;

    for (uint32_t l = 0; l < links; l++)
        for (int direction = 0; direction < 2; direction++)
            if (octets_of(m->link[l], direction) > most)
                most = octets_of(m->link[l], direction);
    begin(s, "air", 150 + 72 * links);
    fprintf(s,
            "set lmargin 22\nset style fill solid 1.0 noborder\nset key tmargin right "
            "horizontal\nset grid xtics lc rgb 'gray' lw 0.5 lt 1\nunset grid\nset grid xtics\n"
            "set xrange [0:%" PRIu64 "]\nset yrange [0:%" PRIu32
            "]\nset xlabel 'octets on the air'\n"
            "set format x '%%.0s %%cB'\nset ytics scale 0 (",
            at_least_one(most), links > 0 ? 2 * links : 1);
    for (uint32_t l = 0; l < links; l++)
        for (int direction = 0; direction < 2; direction++) {
            char label[120];
            snprintf(label, sizeof label, "%s %s", m->links.name[l],
                     direction == SIM_UP ? "up" : "down");
            fputs(l + (unsigned)direction > 0 ? ", " : "", s);
            put_text(s, label);
            fprintf(s, " %.2f", 2 * (links - l) - direction - 0.5);
        }
    fputs(")\n", s);
    for (int kind = 0; kind < SIM_AIR_COUNT; kind++) {
        fprintf(s, "$k%d << EOD\n0\t0\t0\t0\n", kind);
        for (uint32_t l = 0; l < links; l++)
            for (int direction = 0; direction < 2; direction++) {
                const uint64_t *bits = m->link[l]->air_bits[direction];
                double left = 0;
                for (int before = 0; before < kind; before++)
                    left += (double)bits[before] / 8;
                const double middle = 2 * (links - l) - direction - 0.5;
                if (bits[kind] > 0)
                    fprintf(s, "%.8g\t%.8g\t%.2f\t%.2f\n", left, left + (double)bits[kind] / 8,
                            middle - 0.32, middle + 0.32);
            }
        fputs("EOD\n", s);
    }
    for (uint32_t l = 0; l < links; l++)
        for (int direction = 0; direction < 2; direction++) {
            const uint64_t octets = octets_of(m->link[l], direction);
            fprintf(s, "set label \"%s\" at %" PRIu64 ",%.2f left offset 0.8,0\n",
                    sim_say_octets(words, octets), octets, 2 * (links - l) - direction - 0.5);
        }
    fputs("set rmargin 10\nplot ", s);
    for (int kind = 0; kind < SIM_AIR_COUNT; kind++)
        fprintf(s, "%s$k%d using 1:3:1:2:3:4 with boxxyerror lc rgb '%s' title '%s'",
                kind > 0 ? ", " : "", kind, fill[kind], sim_air_name((enum sim_air)kind));
    fputs("\n", s);
}

/* ---- copies ------------------------------------------------------------------ */

void sim_plot_copies(const struct sim_measure *m, FILE *s)
{
    begin(s, "copies", 300);
    fputs("$copies << EOD\n", s);
    uint32_t last = 5;
    uint64_t most = 0;
    for (uint32_t i = 1; i <= SIM_COPIES_MAX; i++)
        if (m->copies[SIM_UP][i] + m->copies[SIM_DOWN][i] > 0 && i > last)
            last = i;
    for (uint32_t i = 1; i <= last; i++) {
        most = m->copies[SIM_UP][i] > most ? m->copies[SIM_UP][i] : most;
        most = m->copies[SIM_DOWN][i] > most ? m->copies[SIM_DOWN][i] : most;
        fprintf(s, "%" PRIu32 "\t%" PRIu64 "\t%" PRIu64 "\n", i, m->copies[SIM_UP][i],
                m->copies[SIM_DOWN][i]);
    }
    fprintf(s,
            "EOD\nset style fill solid 1.0 noborder\nset boxwidth 0.36\nset xtics 1\n"
            "set xrange [0.5:%.1f]\nset yrange [0:%.6g]\nset key top right\n"
            "set xlabel 'how often a message went out'\nset ylabel 'messages'\n"
            "plot $copies using ($1-0.19):2 with boxes lc rgb '" BLUE "' title 'by devices',"
            " $copies using ($1+0.19):3 with boxes lc rgb '" VIOLET "' title 'by the bridge'\n",
            last + 0.5, 1.05 * (double)at_least_one(most));
}

/* ---- the ladder ------------------------------------------------------------------ */

/* An end of an arrow: its place in the order of time is its height. */
struct step {
    uint64_t at_us;
    uint32_t rung;
    bool is_end;
};

static bool is_before(struct step a, struct step b)
{
    return a.at_us != b.at_us ? a.at_us < b.at_us : a.rung < b.rung;
}

static uint32_t order_steps(const struct sim_measure *m, struct step *steps)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->rungs; i++) {
        steps[count++] = (struct step){m->ladder[i].sent_us, i, false};
        if (m->ladder[i].end_us > 0)
            steps[count++] = (struct step){m->ladder[i].end_us, i, true};
    }
    for (uint32_t i = 1; i < count; i++)
        for (uint32_t k = i; k > 0 && is_before(steps[k], steps[k - 1]); k--) {
            const struct step swap = steps[k];
            steps[k] = steps[k - 1];
            steps[k - 1] = swap;
        }
    return count;
}

static void put_rung(const struct sim_measure *m, FILE *s, uint32_t number, uint32_t sent,
                     uint32_t ended)
{
    const struct sim_rung *rung = &m->ladder[number];
    const bool up = rung->direction == SIM_UP;
    const bool lost = rung->lost[0] != '\0';
    const double from = up ? 0 : 1;
    const double to = lost ? 0.5 : 1 - from;
    char label[128];

    fprintf(s, "set arrow from %.1f,%" PRIu32 " to %.1f,%" PRIu32 " %s lw 1.6 lc rgb '%s'\n", from,
            sent, to, ended, lost ? "nohead" : "head filled size screen 0.008,18",
            lost ? RED
            : up ? BLUE
                 : VIOLET);
    snprintf(label, sizeof label, "%s%s%s", rung->text, lost ? "  lost: " : "", rung->lost);
    fputs("set label ", s);
    put_text(s, label);
    fprintf(s, " at 0.5,%.2f center%s\n", (sent + ended) / 2.0 - 0.55,
            lost ? " tc rgb '" RED "'" : "");
}

void sim_plot_ladder(const struct sim_measure *m, FILE *s)
{
    struct step steps[2 * SIM_LADDER_MAX];
    uint32_t sent[SIM_LADDER_MAX] = {0};
    uint32_t ended[SIM_LADDER_MAX] = {0};
    const uint32_t count = order_steps(m, steps);

    begin(s, "ladder", 90 + 26 * count);
    for (uint32_t i = 0; i < count; i++) {
        const struct step step = steps[i];
        const bool at_device = (m->ladder[step.rung].direction == SIM_UP) != step.is_end;
        (step.is_end ? ended : sent)[step.rung] = i + 1;
        fprintf(s, "set label \"%.3f s\" at %.2f,%" PRIu32 " %s\n", (double)step.at_us / 1e6,
                at_device ? -0.03 : 1.03, i + 1, at_device ? "right" : "left");
    }
    for (uint32_t i = 0; i < m->rungs; i++)
        put_rung(m, s, i, sent[i], ended[i] > 0 ? ended[i] : count + 1);
    fputs("set border 0\nunset tics\nunset grid\nunset key\nset label ", s);
    put_text(s, m->devices.count > 0 ? m->devices.name[0] : "device");
    fprintf(s,
            " at 0,-0.6 center\nset label \"gateway\" at 1,-0.6 center\n"
            "set arrow from 0,0 to 0,%" PRIu32 " nohead lw 2 lc rgb 'gray'\n"
            "set arrow from 1,0 to 1,%" PRIu32 " nohead lw 2 lc rgb 'gray'\n"
            "set xrange [-0.25:1.25]\nset yrange [%" PRIu32 ":-1]\nset lmargin 0\nset rmargin 0\n"
            "set tmargin 0\nset bmargin 0\nplot 1/0\n",
            count + 1, count + 1, count + 2);
}
