#include "mqttsn/client_parts.h"

/* When to be heard if the gateway expects us every period: soon enough for one
 * repeat to come in time, since its tolerance is 10 % of a long period (7.2). */
static uint64_t in_good_time(const struct sn_client *c, uint16_t period_s)
{
    const uint64_t period_ms = (uint64_t)period_s * 1000;
    uint64_t lead_ms = c->cfg->retry_ms < period_ms / 2 ? c->cfg->retry_ms : period_ms / 2;

    if (lead_ms < period_ms / 10) {
        lead_ms = period_ms / 10;
    }
    return period_ms - lead_ms;
}

uint64_t snc_ping_due(const struct sn_client *c)
{
    if (c->state != SN_CLIENT_ACTIVE || c->cfg->keepalive_s == 0 || c->pinging) {
        return SN_NEVER;
    }
    /* What we send keeps the gateway content; what we hear does the same for us. */
    const uint64_t since_ms = c->sent_ms < c->heard_ms ? c->sent_ms : c->heard_ms;
    return since_ms + in_good_time(c, c->cfg->keepalive_s);
}

void snc_send_pingreq(struct sn_client *c, uint64_t now_ms)
{
    struct sn_packet p = {.type = SN_PINGREQ};

    if (c->state == SN_CLIENT_AWAKE) {
        p.pingreq.client_id = c->cfg->client_id;
    }
    snc_send(c, now_ms, &p);
}

void snc_send_disconnect(struct sn_client *c, uint64_t now_ms)
{
    struct sn_packet p = {.type = SN_DISCONNECT};

    if (c->state == SN_CLIENT_DROWSY) {
        p.disconnect.has_duration = true;
        p.disconnect.duration_s = c->sleep_s;
        c->goodbyes++;
    }
    snc_send(c, now_ms, &p);
}

static void send_dialogue(struct sn_client *c, uint64_t now_ms)
{
    if (c->dialogue == SN_WILLTOPIC) {
        snc_send_will_topic(c, now_ms, SN_WILLTOPIC);
    } else if (c->dialogue == SN_WILLMSG) {
        snc_send_will_message(c, now_ms, SN_WILLMSG);
    } else {
        snc_send(c, now_ms,
                 &(struct sn_packet){
                     .type = SN_CONNECT,
                     .connect = {.will = c->will_sent,
                                 .clean = c->clean_sent,
                                 .protocol_id = SN_PROTOCOL_ID,
                                 .keepalive_s = c->cfg->keepalive_s,
                                 .client_id = c->cfg->client_id},
                 });
    }
}

void snc_start_connect(struct sn_client *c, uint64_t now_ms)
{
    c->at_ms = SN_NEVER;
    sn_retry_stop(&c->retry);
    if (!snc_choose_gateway(c)) {
        snc_start_search(c, now_ms);
        return;
    }
    /* Only the gateway that let us sleep still has our subscriptions and will. */
    const bool returning = c->resting && c->gateway == c->ids_of;

    c->state = SN_CLIENT_CONNECTING;
    c->clean_sent = c->cfg->clean && !returning;
    if (c->clean_sent && c->will_state == SNC_WILL_DELETE) {
        c->will_state = SNC_WILL_NONE;
    }
    c->will_sent = c->will_state == SNC_WILL_NEW || c->will_state == SNC_WILL_DELETE ||
                   (c->will_state == SNC_WILL_TOLD && !returning);
    c->dialogue = SN_CONNECT;
    snc_start_retry(c, &c->retry, now_ms);
    send_dialogue(c, now_ms);
}

/* Ends whatever connection there is. Returns when the next attempt will be. */
static uint64_t fall_back(struct sn_client *c, uint64_t now_ms, uint32_t pause_ms)
{
    sn_retry_stop(&c->retry);
    sn_retry_stop(&c->open.retry);
    c->open.parked = true;
    c->pinging = false;
    if (c->cfg->reconnect_ms == 0) {
        c->state = SN_CLIENT_IDLE;
        c->at_ms = SN_NEVER;
    } else {
        c->state = SN_CLIENT_PAUSE;
        c->at_ms = now_ms + pause_ms;
    }
    return c->at_ms;
}

void snc_lose(struct sn_client *c, uint64_t now_ms, enum sn_client_loss why,
              enum sn_type waiting_for)
{
    const uint32_t pause_ms = c->reconnect_wait_ms - snc_random_up_to(c, c->reconnect_wait_ms / 2);

    c->reconnect_wait_ms = snc_doubled(c->reconnect_wait_ms, c->cfg->reconnect_max_ms);
    if (why == SN_LOSS_LEFT) {
        c->resting = false;
    } else {
        snc_next_gateway(c);
    }
    const uint64_t again_ms = fall_back(c, now_ms, pause_ms);
    if (again_ms == SN_NEVER) {
        snc_finish_open(c, SN_RESULT_UNKNOWN);
    }
    snc_emit(c, &(struct sn_client_event){
                    .type = SN_EVENT_LOST,
                    .lost = {.why = why, .waiting_for = waiting_for, .again_ms = again_ms},
                });
}

static void fall_asleep(struct sn_client *c, uint64_t now_ms, bool answered)
{
    sn_retry_stop(&c->retry);
    c->state = SN_CLIENT_ASLEEP;
    c->resting = true;
    c->at_ms = now_ms + in_good_time(c, c->sleep_s);
    snc_emit(c, &(struct sn_client_event){.type = SN_EVENT_ASLEEP,
                                          .asleep = {.answered = answered, .until_ms = c->at_ms}});
}

void snc_wake_up(struct sn_client *c, uint64_t now_ms)
{
    c->state = SN_CLIENT_AWAKE;
    c->at_ms = SN_NEVER;
    snc_start_retry(c, &c->retry, now_ms);
    snc_send_pingreq(c, now_ms);
}

void snc_end(struct sn_client *c)
{
    c->state = SN_CLIENT_IDLE;
    c->at_ms = SN_NEVER;
    c->search_at_ms = SN_NEVER;
    c->pinging = false;
    c->resting = false;
    sn_retry_stop(&c->retry);
    snc_emit(c, &(struct sn_client_event){.type = SN_EVENT_DISCONNECTED});
}

void snc_on_will_request(struct sn_client *c, uint64_t now_ms, enum sn_type answer)
{
    if (c->state != SN_CLIENT_CONNECTING) {
        snc_discard(c, SN_OK, answer == SN_WILLTOPIC ? SN_WILLTOPICREQ : SN_WILLMSGREQ);
        return;
    }
    c->dialogue = (uint8_t)answer;
    snc_start_retry(c, &c->retry, now_ms);
    send_dialogue(c, now_ms);
}

static void on_refusal(struct sn_client *c, uint64_t now_ms, uint8_t code)
{
    snc_next_gateway(c);
    const uint64_t again_ms = fall_back(c, now_ms, c->cfg->congestion_ms);
    if (again_ms == SN_NEVER) {
        snc_finish_open(c, SN_RESULT_UNKNOWN);
    }
    snc_emit(c, &(struct sn_client_event){.type = SN_EVENT_REFUSED,
                                          .refused = {.code = code, .again_ms = again_ms}});
}

/* What belongs to a session that this gateway does not have. */
static void forget_session(struct sn_client *c)
{
    const bool half_done = c->open.what == SN_PUBLISH && c->open.qos == 2 && c->open.sent &&
                           c->open.step != SN_REGISTER;

    snc_forget_tids(c);
    memset(c->qos2, 0, sizeof c->qos2);
    c->qos2_ended = 0;
    /* Sent again under a new session it could arrive a second time. */
    if (half_done) {
        snc_finish(c, SN_RESULT_UNKNOWN, SN_ACCEPTED, 2);
    }
}

void snc_on_connack(struct sn_client *c, uint64_t now_ms, uint8_t code)
{
    if (c->state != SN_CLIENT_CONNECTING) {
        snc_discard(c, SN_OK, SN_CONNACK);
        return;
    }
    if (code != SN_ACCEPTED) {
        on_refusal(c, now_ms, code);
        return;
    }
    sn_retry_stop(&c->retry);
    c->state = SN_CLIENT_ACTIVE;
    c->resting = false;
    c->goodbyes = 0;
    c->reconnect_wait_ms = c->cfg->reconnect_ms;
    if (c->will_sent) {
        c->will_state = c->will_state == SNC_WILL_DELETE ? SNC_WILL_NONE : SNC_WILL_TOLD;
    }
    const bool fresh = c->clean_sent || c->ids_of != c->gateway;
    c->ids_of = c->gateway;
    if (fresh) {
        forget_session(c);
    }
    /* The CONNECT has brought the will that an update was to bring. */
    if (c->open.what == SN_WILLTOPICUPD && c->open.parked) {
        snc_finish(c, SN_RESULT_ACCEPTED, SN_ACCEPTED, 0);
    }
    if (c->open.what != 0 && c->open.parked) {
        snc_go_on(c, now_ms);
    }
    snc_emit(c, &(struct sn_client_event){.type = SN_EVENT_CONNECTED});
}

void snc_on_pingresp(struct sn_client *c, uint64_t now_ms)
{
    if (c->state == SN_CLIENT_AWAKE) {
        fall_asleep(c, now_ms, true);
    } else if (c->state == SN_CLIENT_ACTIVE && c->pinging) {
        c->pinging = false;
        sn_retry_stop(&c->retry);
    } else {
        snc_discard(c, SN_OK, SN_PINGRESP);
    }
}

void snc_on_disconnect(struct sn_client *c, uint64_t now_ms)
{
    switch ((enum sn_client_state)c->state) {
    case SN_CLIENT_CLOSING:
        snc_end(c);
        return;
    case SN_CLIENT_DROWSY:
        c->goodbyes--;
        fall_asleep(c, now_ms, true);
        return;
    case SN_CLIENT_ACTIVE:
    case SN_CLIENT_ASLEEP:
    case SN_CLIENT_AWAKE:
        /* A repeated DISCONNECT of ours is answered as often as it arrived. */
        if (c->goodbyes > 0) {
            c->goodbyes--;
            break;
        }
        snc_lose(c, now_ms, SN_LOSS_LEFT, SN_DISCONNECT);
        return;
    case SN_CLIENT_IDLE:
    case SN_CLIENT_SEARCHING:
    case SN_CLIENT_CONNECTING: /* an answer to something sent before: CONNACK decides */
    case SN_CLIENT_PAUSE:
        break;
    }
    snc_discard(c, SN_OK, SN_DISCONNECT);
}

void snc_repeat(struct sn_client *c, uint64_t now_ms)
{
    if (c->state == SN_CLIENT_CONNECTING) {
        send_dialogue(c, now_ms);
    } else if (c->state == SN_CLIENT_ACTIVE || c->state == SN_CLIENT_AWAKE) {
        snc_send_pingreq(c, now_ms);
    } else {
        snc_send_disconnect(c, now_ms);
    }
}

void snc_give_up(struct sn_client *c, uint64_t now_ms)
{
    if (c->state == SN_CLIENT_CONNECTING) {
        snc_lose(c, now_ms, SN_LOSS_NO_ANSWER, (enum sn_type)c->dialogue);
    } else if (c->state == SN_CLIENT_ACTIVE) {
        snc_lose(c, now_ms, SN_LOSS_NO_ANSWER, SN_PINGREQ);
    } else if (c->state == SN_CLIENT_DROWSY) {
        snc_lose(c, now_ms, SN_LOSS_NO_ANSWER, SN_DISCONNECT);
    } else if (c->state == SN_CLIENT_AWAKE) {
        fall_asleep(c, now_ms, false); /* 6.14: saves its battery and tries next time */
    } else {
        snc_end(c);
    }
}
