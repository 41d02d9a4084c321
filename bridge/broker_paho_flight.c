#include "bridge/broker_paho.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int64_t paho_clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct timespec paho_clock_at(int64_t ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

void *paho_allocate(size_t size)
{
    void *p = calloc(1, size);
    assert(p != NULL);
    return p;
}

/* ---- events for the loop; with the lock ------------------------------------- */

struct notice *paho_add_notice(struct broker *b, enum bridge_event_type type)
{
    if (!b->notified) {
        const uint64_t one = 1;
        const ssize_t n = write(b->events_fd, &one, sizeof one);
        (void)n; /* the counter was 0: it cannot be full */
        b->notified = true;
    }
    struct notice *notice = broker_mail_add(&b->notices);
    notice->event.type = type;
    return notice;
}

void paho_report_delivered(struct broker *b, uint32_t conn, uint64_t seq, uint8_t code)
{
    struct notice *n = paho_add_notice(b, BRIDGE_ON_DELIVERED);
    n->event.delivered.conn = conn;
    n->event.delivered.seq = seq;
    n->event.delivered.code = code;
}

void paho_report_down(struct connection *c, const char *why)
{
    char line[WHY_MAX + 128];
    snprintf(line, sizeof line, "%s: %s", c->broker->url, why);
    struct notice *n = paho_add_notice(c->broker, BRIDGE_ON_BROKER_DOWN);
    n->event.down.conn = c->number;
    n->event.down.attempt = c->attempt;
    n->event.down.code = c->code;
    c->code = 0;
    n->text = broker_mail_keep(&c->broker->notices, sn_bytes_text(line));
}

/* ---- flights; with the lock ---------------------------------------------------- */

void paho_ring_init(struct flight *head)
{
    head->next = head;
    head->prev = head;
}

static void ring_add(struct flight *head, struct flight *f)
{
    f->prev = head->prev;
    f->next = head;
    head->prev->next = f;
    head->prev = f;
}

static void ring_remove(struct flight *f)
{
    f->prev->next = f->next;
    f->next->prev = f->prev;
}

struct flight *paho_take_flight(struct connection *c, enum flight_kind kind)
{
    struct broker *b = c->broker;
    struct flight *f = b->spare;
    if (f != NULL)
        b->spare = f->next;
    else
        f = paho_allocate(sizeof *f);
    *f = (struct flight){.conn = c, .kind = kind};
    ring_add(&c->flights, f);
    b->sent++;
    return f;
}

struct flight *paho_take_carried(struct connection *c)
{
    struct flight *f = paho_take_flight(c, FLIGHT_PUBLISH);
    ring_remove(f);
    ring_add(&c->carried, f);
    c->broker->sent--;
    f->state = FLIGHT_CARRIED;
    return f;
}

void paho_put_flight(struct flight *f)
{
    struct broker *b = f->conn->broker;
    ring_remove(f);
    b->progress++;
    paho_meter_packet(f->conn);
    if (f->state == FLIGHT_SENT)
        b->sent--;
    if (f->kind == FLIGHT_PUBLISH && f->qos == 0 && !f->silent) {
        f->conn->qos0--;
        pthread_cond_broadcast(&b->work);
    }
    if (b->closing)
        pthread_cond_broadcast(&b->work);
    f->next = b->spare;
    b->spare = f;
}

bool paho_has_carried(const struct connection *c)
{
    for (const struct flight *f = c->carried.next; f != &c->carried; f = f->next)
        if (f->state == FLIGHT_CARRIED)
            return true;
    return false;
}

struct flight *paho_find_carried(struct connection *c, uint64_t seq)
{
    for (struct flight *f = c->carried.next; f != &c->carried; f = f->next)
        if (f->seq == seq)
            return f;
    return NULL;
}

struct flight *paho_find_carried_token(struct connection *c, int token)
{
    for (struct flight *f = c->carried.next; f != &c->carried; f = f->next)
        if (f->state == FLIGHT_CARRIED && f->token == token)
            return f;
    return NULL;
}

void paho_finish_when_done(struct connection *c)
{
    if (!c->finishing || paho_has_carried(c))
        return;
    c->todo_finish = true;
    c->broker->todo = true;
    pthread_cond_broadcast(&c->broker->work);
}

/* The broker has taken the message, or refused it for good. */
void paho_settle(struct flight *f, uint8_t code)
{
    if (f->conn->window_news == WINDOW_UNTRIED && f->qos > 0)
        f->conn->window_news = WINDOW_PROVED;
    if (f->qos > 0)
        f->conn->refusals = 0;
    /* The core may not even have read a carried message from its disk yet. */
    if (f->state == FLIGHT_CARRIED && !f->asked && !f->silent) {
        f->state = FLIGHT_SETTLED;
        f->code = code;
        paho_finish_when_done(f->conn);
        return;
    }
    struct connection *c = f->conn;
    if (!f->silent)
        paho_report_delivered(f->conn->broker, f->conn->number, f->seq, code);
    paho_put_flight(f);
    paho_finish_when_done(c);
}

/* The connection is no more: everything in flight is undecided. */
void paho_carry_flights(struct connection *c)
{
    struct flight *f = c->carried.next;
    while (f != &c->carried) {
        if (f->state != FLIGHT_SETTLED)
            f->state = FLIGHT_LOST;
        f->asked = false;
        f = f->next;
    }
    f = c->flights.next;
    while (f != &c->flights) {
        struct flight *next = f->next;
        if (f->kind != FLIGHT_PUBLISH) {
            f->silent = true;
        } else if (f->qos == 0 && !f->silent) {
            /* At most once: Paho may still write it, so nobody else shall. */
            paho_report_delivered(c->broker, c->number, f->seq, 0);
            f->silent = true;
            c->qos0--;
        } else if (f->qos > 0) {
            f->state = FLIGHT_LOST;
            c->broker->sent--;
            ring_remove(f);
            ring_add(&c->carried, f);
        }
        f = next;
    }
    pthread_cond_broadcast(&c->broker->work);
}

/* What Paho was told to forget, because the broker has no session. */
void paho_drop_carried(struct connection *c)
{
    struct flight *f = c->carried.next;
    while (f != &c->carried) {
        struct flight *next = f->next;
        if (f->state != FLIGHT_SETTLED)
            paho_put_flight(f);
        f = next;
    }
}
