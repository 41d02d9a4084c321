#include "sim/report.h"

#include "sim/plot.h"
#include "sim/words.h"
#include "sim/world.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- sentences --------------------------------------------------------------- */

static void say_delays(const struct sim_histogram *h, FILE *out)
{
    char half[SIM_WORDS_SIZE];
    char most[SIM_WORDS_SIZE];
    char longest[SIM_WORDS_SIZE];
    if (h->count > 0)
        fprintf(
            out,
            "Half of them took no longer than %s, 99 of 100 no longer than %s, the slowest %s.\n",
            sim_say_duration(half, sim_histogram_percentile(h, 500)),
            sim_say_duration(most, sim_histogram_percentile(h, 990)),
            sim_say_duration(longest, h->max_us));
}

static void say_up(const struct sim_measure *m, const struct sim_flow *up, FILE *out)
{
    char a[SIM_WORDS_SIZE];
    char b[SIM_WORDS_SIZE];
    char c[SIM_WORDS_SIZE];
    char d[SIM_WORDS_SIZE];

    if (up->published == 0)
        return;
    fprintf(out, "In %s, %s %s had %s messages for the broker; %s of them (%s) arrived there.\n",
            sim_say_duration(a, m->end_us), sim_say_count(b, m->devices.count),
            m->devices.count == 1 ? "device" : "devices", sim_say_count(c, up->published),
            up->delivered == up->published ? "all" : sim_say_count(d, up->delivered),
            sim_say_share((char[SIM_WORDS_SIZE]){0}, up->delivered, up->published));
    say_delays(&up->delay, out);
    if (up->given_up > 0)
        fprintf(out, "Devices gave up on %s messages that nobody had acknowledged.\n",
                sim_say_count(a, up->given_up));
    if (up->again > 0)
        fprintf(out, "The broker got %s copies more%s.\n", sim_say_count(a, up->again),
                m->flow[SIM_UP][2].again == 0 ? ", none of them of a QoS 2 message" : "");
}

static void say_down(const struct sim_measure *m, const struct sim_flow *down, FILE *out)
{
    char a[SIM_WORDS_SIZE];
    char b[SIM_WORDS_SIZE];

    if (down->published + down->delivered == 0)
        return;
    fprintf(out, "The broker had %s messages for devices; devices got %s.\n",
            sim_say_count(a, down->published), sim_say_count(b, down->delivered));
    say_delays(&down->delay, out);
    if (down->again > 0)
        fprintf(out, "Devices got %s copies more%s.\n", sim_say_count(a, down->again),
                m->flow[SIM_DOWN][2].again == 0 ? ", none of them of a QoS 2 message" : "");
}

static uint64_t lost_frames(const struct sim_measure *m)
{
    uint64_t lost = 0;
    for (uint32_t i = 0; i < m->losses; i++)
        lost += m->loss[i].frames[SIM_UP] + m->loss[i].frames[SIM_DOWN];
    return lost;
}

static void say_links(const struct sim_measure *m, FILE *out)
{
    char a[SIM_WORDS_SIZE];
    char b[SIM_WORDS_SIZE];

    for (uint32_t l = 0; l < m->links.count && l < SIM_PLOT_LINKS_MAX; l++) {
        const struct sim_link_figures *link = m->link[l];
        fprintf(out, "The link %s was down %s of the time and sending %s of it", m->links.name[l],
                sim_say_share(a, link->down_us, m->end_us),
                sim_say_share(b, link->busy_us[SIM_UP] + link->busy_us[SIM_DOWN], m->end_us));
        if (link->cost > 0)
            fprintf(out, "; it cost %s %s", sim_say_hundredths(a, link->cost), link->unit);
        fputs(".\n", out);
    }
    if (lost_frames(m) > 0)
        fprintf(out, "%s frames were lost on the way.\n", sim_say_count(a, lost_frames(m)));
    if (sim_measure_copies(m, SIM_UP) > 0)
        fprintf(out, "On the mean a device sent each message %s times.\n",
                sim_say_hundredths(a, sim_measure_copies(m, SIM_UP)));
}

static void say_account(const struct bridge_account *account, const char *of, FILE *out)
{
    char words[5][SIM_WORDS_SIZE];
    fprintf(out,
            "The bridge's account of messages %s: %s accepted = %s delivered + %s expired + %s "
            "dropped + %s queued.\n",
            of, sim_say_count(words[0], account->accepted),
            sim_say_count(words[1], account->delivered), sim_say_count(words[2], account->expired),
            sim_say_count(words[3], account->dropped), sim_say_count(words[4], account->queued));
}

void sim_report_summary(const struct sim_report *r, FILE *out)
{
    struct sim_flow *up = sim_measure_flow(r->measure, SIM_UP);
    struct sim_flow *down = sim_measure_flow(r->measure, SIM_DOWN);
    say_up(r->measure, up, out);
    say_down(r->measure, down, out);
    free(up);
    free(down);
    say_links(r->measure, out);
    if (r->status != NULL) {
        say_account(&r->status->up, "from devices", out);
        if (r->status->down.accepted > 0)
            say_account(&r->status->down, "to devices", out);
    }
    fprintf(out, "%s\n", r->verdict != NULL ? r->verdict : "Every promise was kept.");
}

/* ---- HTML ---------------------------------------------------------------------- */

static void put(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        const char c = *text;
        if (c == '<')
            fputs("&lt;", out);
        else if (c == '>')
            fputs("&gt;", out);
        else if (c == '&')
            fputs("&amp;", out);
        else if (c == '"')
            fputs("&quot;", out);
        else
            fputc(c, out);
    }
}

static const char style[] =
    ":root{color-scheme:light dark;--ground:#fff;--ink:#1f2933;--dim:#5b6774;--line:#d8dee6;"
    "--card:#f6f8fa;--good:#18794e;--bad:#c62828}\n"
    "@media(prefers-color-scheme:dark){:root{--ground:#12161b;--ink:#e3e8ee;--dim:#98a4b1;"
    "--line:#333c46;--card:#1a2027;--good:#5cc98f;--bad:#ff8a80}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;max-width:64rem;padding:1.5rem 1rem 4rem;background:var(--ground);"
    "color:var(--ink);font:1rem/1.55 system-ui,sans-serif}\n"
    "h1{font-size:1.7rem;line-height:1.2;margin:0 0 .3rem}\n"
    "h2{font-size:1.2rem;margin:2.2rem 0 .3rem}\n"
    "p{margin:.4rem 0}.dim{color:var(--dim)}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.7rem;"
    "margin:1.2rem 0}\n"
    ".tile{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.6rem "
    ".8rem}\n"
    ".tile b{display:block;font-size:1.35rem;line-height:1.3}\n"
    ".tile span{color:var(--dim);font-size:.85rem}\n"
    ".verdict{border-left:4px solid var(--good);padding:.1rem .8rem;margin:1rem 0}\n"
    ".verdict.bad{border-color:var(--bad)}\n"
    ".wide{overflow-x:auto}\n"
    ".wide svg{display:block;min-width:44rem;width:100%;height:auto}\n"
    "svg [fill=black]{fill:var(--ink)}svg [stroke=black]{stroke:var(--ink)}\n"
    "svg .gridline,svg [stroke=gray]{stroke:var(--line)}\n"
    "svg text{font-family:system-ui,sans-serif}\n"
    "table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.28rem .8rem .28rem 0;border-bottom:1px solid var(--line);text-align:right;"
    "white-space:nowrap}\n"
    "th:first-child,td:first-child,.left td,.left th{text-align:left}\n"
    "td.text{white-space:normal}th{color:var(--dim);font-weight:600}\n"
    "pre{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.8rem;"
    "overflow-x:auto;font-size:.85rem;line-height:1.45}\n";

static void put_head(const struct sim_report *r, FILE *out)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
          out);
    put(out, r->title != NULL ? r->title : "A run of snsim");
    fprintf(out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<h1>", style);
    put(out, r->title != NULL ? r->title : "A run of snsim");
    fputs("</h1>\n", out);
    if (r->about != NULL) {
        fputs("<p class=\"dim\">", out);
        put(out, r->about);
        fputs("</p>\n", out);
    }
}

static void put_tile(FILE *out, const char *figure, const char *what)
{
    fputs("<div class=\"tile\"><b>", out);
    put(out, figure);
    fputs("</b><span>", out);
    put(out, what);
    fputs("</span></div>\n", out);
}

static void put_tiles(const struct sim_report *r, FILE *out)
{
    const struct sim_measure *m = r->measure;
    struct sim_flow *up = sim_measure_flow(m, SIM_UP);
    struct sim_flow *down = sim_measure_flow(m, SIM_DOWN);
    char words[SIM_WORDS_SIZE];

    fputs("<div class=\"tiles\">\n", out);
    if (up->published > 0) {
        put_tile(out, sim_say_share(words, up->delivered, up->published), "arrived at the broker");
        put_tile(out, sim_say_count(words, up->delivered), "messages from devices");
    }
    if (up->delay.count > 0)
        put_tile(out, sim_say_duration(words, sim_histogram_percentile(&up->delay, 500)),
                 "half took no longer");
    if (down->published > 0)
        put_tile(out, sim_say_count(words, down->delivered), "messages to devices");
    if (sim_measure_copies(m, SIM_UP) > 0)
        put_tile(out, sim_say_hundredths(words, sim_measure_copies(m, SIM_UP)),
                 "copies per message");
    for (uint32_t l = 0; l < m->links.count && l < SIM_PLOT_LINKS_MAX; l++)
        if (m->link[l]->cost > 0) {
            char text[3 * SIM_WORDS_SIZE];
            snprintf(text, sizeof text, "%s on %.30s", m->link[l]->unit, m->links.name[l]);
            put_tile(out, sim_say_hundredths(words, m->link[l]->cost), text);
        }
    fputs("</div>\n", out);
    free(up);
    free(down);
}

static void put_summary(const struct sim_report *r, FILE *out)
{
    char *text = NULL;
    size_t len = 0;
    FILE *sentences = open_memstream(&text, &len);
    if (sentences == NULL)
        abort();
    const struct sim_report without = {.measure = r->measure, .verdict = ""};
    sim_report_summary(&without, sentences);
    fclose(sentences);
    fputs("<p>", out);
    put(out, text);
    fprintf(out, "</p>\n<p class=\"verdict%s\">", r->verdict != NULL ? " bad" : "");
    put(out,
        r->verdict != NULL
            ? r->verdict
            : "Every promise was kept: nothing that was acknowledged is lost, nothing at QoS 2 "
              "came twice, order and limits hold, and the account adds up.");
    fputs("</p>\n", out);
    free(text);
}

struct chart {
    const char *title;
    const char *how; /* to read it */
    void (*plot)(const struct sim_measure *m, FILE *script);
};

static const struct chart charts[] = {
    {"Links, and what waits for them",
     "Time runs from left to right. Above, each strip is a link: green while it is up, grey while "
     "it is down, blue where frames are on the air (the higher, the busier), red where some were "
     "lost; what is short is drawn large enough to be seen. Below, how many messages wait at each "
     "moment, and where.",
     sim_plot_timeline},
    {"How long messages took",
     "Each curve rises to 100 %: read off its height how much of what was delivered arrived within "
     "the time below. A steep curve far to the left is good; a long tail is what outages and "
     "retransmissions cost.",
     sim_plot_delays},
    {"What the air was used for",
     "One bar for each link and direction. Payload is what applications wanted to send; all else "
     "is what it takes to get it there.",
     sim_plot_air},
    {"How often a message was sent",
     "QoS 1 and 2: a message is sent again until it is acknowledged. All at 1 is the best there "
     "can be; bars to the right are air time, and money, spent again.",
     sim_plot_copies},
    {"The first exchanges, frame by frame",
     "The first device of the run and the gateway: time runs down, an arrow leaves when the frame "
     "is handed to the link and ends when it arrives; red ends where it is lost.",
     sim_plot_ladder},
};

/* The picture without what stands before <svg: a page has one prologue only. */
static int put_chart(const struct chart *c, const struct sim_measure *m, sim_chart_fn *draw,
                     FILE *out)
{
    char *script = NULL;
    char *picture = NULL;
    size_t script_len = 0;
    size_t picture_len = 0;
    FILE *s = open_memstream(&script, &script_len);
    FILE *p = open_memstream(&picture, &picture_len);
    if (s == NULL || p == NULL)
        abort();
    c->plot(m, s);
    fclose(s);
    const int result = draw(script, script_len, p);
    fclose(p);
    const char *svg = strstr(picture, "<svg");
    if (result == 0)
        fprintf(out, "<h2>%s</h2>\n<p class=\"dim\">%s</p>\n<div class=\"wide\">%s</div>\n",
                c->title, c->how, svg != NULL ? svg : "");
    free(script);
    free(picture);
    return result;
}

/* ---- tables ------------------------------------------------------------------------ */

static void put_cell(FILE *out, const char *text)
{
    fputs("<td>", out);
    put(out, text);
    fputs("</td>", out);
}

static void put_flows(const struct sim_measure *m, FILE *out)
{
    char w[SIM_WORDS_SIZE];
    fputs(
        "<h2>Messages</h2>\n<p class=\"dim\">Delays are from the application that had the message "
        "to the one that got it; they are at most 3.1 % too long.</p>\n<div class=\"wide\"><table>"
        "<tr><th></th><th>published</th><th>accepted</th><th>delivered</th><th>again</th>"
        "<th>given up</th><th>median</th><th>90 %</th><th>99 %</th><th>slowest</th></tr>\n",
        out);
    for (int direction = 0; direction < 2; direction++)
        for (int qos = 0; qos < 3; qos++) {
            const struct sim_flow *f = &m->flow[direction][qos];
            if (f->published + f->delivered + f->unmatched == 0)
                continue;
            fprintf(out, "<tr><td>QoS %d %s</td>", qos,
                    direction == SIM_UP ? "to the broker" : "to devices");
            put_cell(out, sim_say_count(w, f->published));
            put_cell(out, direction == SIM_UP ? sim_say_count(w, f->accepted) : "");
            put_cell(out, sim_say_count(w, f->delivered));
            put_cell(out, sim_say_count(w, f->again));
            put_cell(out, direction == SIM_UP ? sim_say_count(w, f->given_up) : "");
            put_cell(out, sim_say_duration(w, sim_histogram_percentile(&f->delay, 500)));
            put_cell(out, sim_say_duration(w, sim_histogram_percentile(&f->delay, 900)));
            put_cell(out, sim_say_duration(w, sim_histogram_percentile(&f->delay, 990)));
            put_cell(out, sim_say_duration(w, f->delay.max_us));
            fputs("</tr>\n", out);
        }
    fputs("</table></div>\n", out);
}

static void put_links(const struct sim_measure *m, FILE *out)
{
    char w[SIM_WORDS_SIZE];
    fputs("<h2>Links</h2>\n<div class=\"wide\"><table><tr><th></th><th>down</th><th>sending up</th>"
          "<th>sending down</th><th>frames up</th><th>arrived</th><th>frames down</th>"
          "<th>arrived</th><th>cost</th></tr>\n",
          out);
    for (uint32_t l = 0; l < m->links.count; l++) {
        const struct sim_link_figures *link = m->link[l];
        char cost[2 * SIM_WORDS_SIZE];
        fputs("<tr>", out);
        put_cell(out, m->links.name[l]);
        put_cell(out, sim_say_share(w, link->down_us, m->end_us));
        put_cell(out, sim_say_share(w, link->busy_us[SIM_UP], m->end_us));
        put_cell(out, sim_say_share(w, link->busy_us[SIM_DOWN], m->end_us));
        for (int direction = 0; direction < 2; direction++) {
            put_cell(out, sim_say_count(w, link->frames[direction]));
            put_cell(out, sim_say_count(w, link->arrived[direction]));
        }
        snprintf(cost, sizeof cost, "%s %s", sim_say_hundredths(w, link->cost), link->unit);
        put_cell(out, link->cost > 0 ? cost : "");
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
    if (m->losses == 0)
        return;
    fputs("<h2>Why frames were lost</h2>\n<table><tr><th></th><th>up</th><th>down</th></tr>\n",
          out);
    for (uint32_t i = 0; i < m->losses; i++) {
        fputs("<tr>", out);
        put_cell(out, m->loss[i].why);
        put_cell(out, sim_say_count(w, m->loss[i].frames[SIM_UP]));
        put_cell(out, sim_say_count(w, m->loss[i].frames[SIM_DOWN]));
        fputs("</tr>\n", out);
    }
    fputs("</table>\n", out);
}

static void put_account_row(FILE *out, const char *name, const struct bridge_account *a)
{
    const uint64_t figures[] = {a->accepted, a->delivered, a->expired, a->dropped, a->queued};
    char w[SIM_WORDS_SIZE];
    fputs("<tr>", out);
    put_cell(out, name);
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
        put_cell(out, sim_say_count(w, figures[i]));
    fputs("</tr>\n", out);
}

static void put_status(const struct bridge_status *status, FILE *out)
{
    char w[SIM_WORDS_SIZE];
    fputs("<h2>The bridge's account</h2>\n<p class=\"dim\">What the bridge says of itself at the "
          "end: accepted = delivered + expired + dropped + queued. After a kill it goes on from "
          "what was "
          "on the disk; notes are counted from the last start.</p>\n<div class=\"wide\"><table>"
          "<tr><th></th><th>accepted</th><th>delivered</th><th>expired</th><th>dropped</th>"
          "<th>queued</th></tr>\n",
          out);
    put_account_row(out, "from devices", &status->up);
    put_account_row(out, "to devices", &status->down);
    fputs("</table></div>\n<h2>What the bridge noted</h2>\n<div class=\"wide\">"
          "<table class=\"left\"><tr><th>note</th><th>times</th><th>meaning</th></tr>\n",
          out);
    for (int note = 0; note < BRIDGE_NOTE_COUNT; note++) {
        if (status->notes[note] == 0)
            continue;
        fputs("<tr>", out);
        put_cell(out, bridge_note_name((enum bridge_note)note));
        put_cell(out, sim_say_count(w, status->notes[note]));
        fputs("<td class=\"text\">", out);
        put(out, bridge_note_text((enum bridge_note)note));
        fputs("</td></tr>\n", out);
    }
    fputs("</table></div>\n", out);
}

static void put_happenings(const struct sim_measure *m, FILE *out)
{
    char w[SIM_WORDS_SIZE];
    if (m->happenings == 0)
        return;
    fputs("<h2>Faults and restarts</h2>\n<div class=\"wide\"><table class=\"left\"><tr><th>at</th>"
          "<th>what</th></tr>\n",
          out);
    for (uint64_t i = 0; i < m->happenings && i < SIM_EVENTS_MAX; i++) {
        fputs("<tr>", out);
        put_cell(out, sim_say_duration(w, m->happening[i].at_us));
        put_cell(out, m->happening[i].text);
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
    if (m->happenings > SIM_EVENTS_MAX)
        fprintf(out, "<p class=\"dim\">and %s more</p>\n",
                sim_say_count(w, m->happenings - SIM_EVENTS_MAX));
}

static void put_origin(const struct sim_report *r, FILE *out)
{
    fputs("<h2>To repeat it</h2>\n", out);
    if (r->command != NULL) {
        fputs("<pre>", out);
        put(out, r->command);
        fputs("</pre>\n", out);
    }
    fprintf(out, "<p class=\"dim\">Seed %" PRIu64 ". ", r->seed);
    fputs("The same program, scenario and seed give the same run on every machine. Times are "
          "virtual. Loss and delay figures of link profiles are partly estimates; "
          "<code>snsim profiles NAME</code> says which.</p>\n",
          out);
    if (r->scenario != NULL) {
        fputs("<h2>The scenario</h2>\n<pre>", out);
        put(out, r->scenario);
        fputs("</pre>\n", out);
    }
    fputs("<p class=\"dim\">snsim " SNBRIDGE_VERSION "</p>\n</body>\n</html>\n", out);
}

int sim_report_write(const struct sim_report *r, sim_chart_fn *chart, FILE *out)
{
    put_head(r, out);
    put_tiles(r, out);
    put_summary(r, out);
    for (size_t i = 0; i < sizeof charts / sizeof charts[0]; i++) {
        const int result = put_chart(&charts[i], r->measure, chart, out);
        if (result != 0)
            return result;
    }
    put_flows(r->measure, out);
    put_links(r->measure, out);
    if (r->status != NULL)
        put_status(r->status, out);
    put_happenings(r->measure, out);
    put_origin(r, out);
    return 0;
}
