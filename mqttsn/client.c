#include "mqttsn/client_parts.h"

static void check_retries(struct sn_client *c, uint64_t now_ms)
{
    switch (sn_retry_check(&c->retry, now_ms)) {
    case SN_RETRY_WAIT:
        break;
    case SN_RETRY_REPEAT:
        snc_repeat(c, now_ms);
        break;
    case SN_RETRY_LOST:
        snc_give_up(c, now_ms);
        break;
    }
    switch (sn_retry_check(&c->open.retry, now_ms)) {
    case SN_RETRY_WAIT:
        break;
    case SN_RETRY_REPEAT:
        snc_repeat_open(c, now_ms);
        break;
    case SN_RETRY_LOST:
        snc_lose(c, now_ms, SN_LOSS_NO_ANSWER, (enum sn_type)c->open.step);
        break;
    }
}

void sn_client_time(struct sn_client *c, uint64_t now_ms)
{
    if (now_ms >= c->gwinfo_at_ms) {
        snc_answer_search(c);
    }
    snc_drop_silent_gateways(c, now_ms);
    if (c->state == SN_CLIENT_SEARCHING && now_ms >= c->search_at_ms) {
        snc_postpone_search(c, now_ms);
        snc_broadcast(c, c->cfg->search_radius,
                      &(struct sn_packet){.type = SN_SEARCHGW,
                                          .searchgw = {.radius = c->cfg->search_radius}});
    }
    check_retries(c, now_ms);
    if (c->state == SN_CLIENT_PAUSE && now_ms >= c->at_ms) {
        snc_start_connect(c, now_ms);
    }
    if (c->state == SN_CLIENT_ASLEEP && now_ms >= c->at_ms) {
        snc_wake_up(c, now_ms);
    }
    if (c->state == SN_CLIENT_ACTIVE && c->open.parked && now_ms >= c->hold_ms) {
        snc_go_on(c, now_ms);
    }
    if (now_ms >= snc_ping_due(c)) {
        sn_client_ping(c, now_ms);
    }
}

static void earlier(uint64_t *deadline_ms, uint64_t at_ms)
{
    if (at_ms < *deadline_ms) {
        *deadline_ms = at_ms;
    }
}

uint64_t sn_client_deadline(const struct sn_client *c)
{
    uint64_t deadline_ms = c->at_ms;

    earlier(&deadline_ms, c->retry.due_ms);
    earlier(&deadline_ms, c->open.retry.due_ms);
    earlier(&deadline_ms, c->gwinfo_at_ms);
    earlier(&deadline_ms, c->search_at_ms);
    earlier(&deadline_ms, snc_ping_due(c));
    if (c->state == SN_CLIENT_ACTIVE && c->open.what != 0 && c->open.parked) {
        earlier(&deadline_ms, c->hold_ms);
    }
    for (unsigned i = 0; i < c->cfg->gateways_max; i++) {
        if (c->cfg->gateways[i].used) {
            earlier(&deadline_ms, c->cfg->gateways[i].gone_ms);
        }
    }
    return deadline_ms;
}

/* An acknowledgement that leaves is no reason to wait longer for the answer to what
 * went before: a device that acknowledges much would never repeat its request. */
void sn_client_sent(struct sn_client *c, uint64_t now_ms)
{
    if (c->sent_type == c->open.step) {
        sn_retry_sent(&c->open.retry, now_ms);
    } else if (c->sent_type == SN_CONNECT || c->sent_type == SN_WILLTOPIC ||
               c->sent_type == SN_WILLMSG || c->sent_type == SN_DISCONNECT ||
               c->sent_type == SN_PINGREQ) {
        sn_retry_sent(&c->retry, now_ms);
    }
}

void sn_client_init(struct sn_client *c, const struct sn_client_config *cfg, uint64_t seed)
{
    assert(cfg->emit != NULL);
    assert(cfg->retry_ms > 0 && cfg->client_id.len > 0);
    assert(cfg->client_id.len <= SN_CLIENT_ID_MAX && cfg->node.len <= SN_CLIENT_NODE_MAX);
    assert(cfg->frame_size >= SN_CLIENT_FRAME_MIN);
    *c = (struct sn_client){
        .cfg = cfg,
        .at_ms = SN_NEVER,
        .search_at_ms = SN_NEVER,
        .gwinfo_at_ms = SN_NEVER,
        .reconnect_wait_ms = cfg->reconnect_ms,
        .ids_of = SNC_NO_GATEWAY,
    };
    sn_retry_stop(&c->retry);
    sn_retry_stop(&c->open.retry);
    if (cfg->topics_max > 0) {
        memset(cfg->topics, 0, cfg->topics_max * sizeof *cfg->topics);
    }
    if (cfg->gateways_max > 0) {
        memset(cfg->gateways, 0, cfg->gateways_max * sizeof *cfg->gateways);
    }
    /* Spreads seeds that differ in few bits; xorshift must not begin with 0. */
    seed = (seed ^ seed >> 33) * 0xFF51AFD7ED558CCDu;
    c->random = (uint32_t)(seed >> 32) | 1;
    c->next_mid = (uint16_t)(snc_random(c) >> 16 | 1);
}

enum sn_client_answer sn_client_add_gateway(struct sn_client *c, struct sn_bytes address)
{
    if (address.len > SN_CLIENT_ADDRESS_MAX) {
        return SN_ANSWER_TOO_LARGE;
    }
    return snc_add_gateway(c, address) != NULL ? SN_ANSWER_DONE : SN_ANSWER_BUSY;
}

enum sn_client_answer sn_client_connect(struct sn_client *c, uint64_t now_ms)
{
    switch ((enum sn_client_state)c->state) {
    case SN_CLIENT_IDLE:
        c->reconnect_wait_ms = c->cfg->reconnect_ms;
        break;
    case SN_CLIENT_ASLEEP:
    case SN_CLIENT_AWAKE:
    case SN_CLIENT_PAUSE:
        break;
    case SN_CLIENT_SEARCHING:
    case SN_CLIENT_CONNECTING:
    case SN_CLIENT_ACTIVE:
    case SN_CLIENT_CLOSING:
    case SN_CLIENT_DROWSY:
        return SN_ANSWER_BUSY;
    }
    snc_start_connect(c, now_ms);
    return SN_ANSWER_STARTED;
}

enum sn_client_answer sn_client_disconnect(struct sn_client *c, uint64_t now_ms)
{
    if (c->state == SN_CLIENT_IDLE) {
        return SN_ANSWER_DONE;
    }
    if (snc_is_listening(c)) {
        c->state = SN_CLIENT_CLOSING;
        c->at_ms = SN_NEVER;
        snc_start_retry(c, &c->retry, now_ms);
        snc_send_disconnect(c, now_ms);
        snc_finish_open(c, SN_RESULT_CANCELLED);
    } else if (c->state != SN_CLIENT_CLOSING) {
        snc_finish_open(c, SN_RESULT_CANCELLED);
        snc_end(c); /* the gateway does not count us as connected, or not for long */
    }
    return SN_ANSWER_STARTED;
}

enum sn_client_answer sn_client_sleep(struct sn_client *c, uint64_t now_ms, uint16_t duration_s)
{
    assert(duration_s > 0);
    if (c->state == SN_CLIENT_DROWSY || c->state == SN_CLIENT_AWAKE ||
        (c->open.what != 0 && !c->open.parked)) {
        return SN_ANSWER_BUSY;
    }
    if (c->state != SN_CLIENT_ACTIVE && c->state != SN_CLIENT_ASLEEP) {
        return SN_ANSWER_NOT_CONNECTED;
    }
    c->state = SN_CLIENT_DROWSY;
    c->at_ms = SN_NEVER;
    c->pinging = false;
    c->goodbyes = 0;
    c->sleep_s = duration_s;
    snc_start_retry(c, &c->retry, now_ms);
    snc_send_disconnect(c, now_ms);
    return SN_ANSWER_STARTED;
}

enum sn_client_answer sn_client_ping(struct sn_client *c, uint64_t now_ms)
{
    if (c->state == SN_CLIENT_ASLEEP) {
        snc_wake_up(c, now_ms);
        return SN_ANSWER_STARTED;
    }
    if (c->state == SN_CLIENT_AWAKE || c->pinging) {
        return SN_ANSWER_BUSY;
    }
    if (c->state != SN_CLIENT_ACTIVE) {
        return SN_ANSWER_NOT_CONNECTED;
    }
    c->pinging = true;
    snc_start_retry(c, &c->retry, now_ms);
    snc_send_pingreq(c, now_ms);
    return SN_ANSWER_STARTED;
}

static enum sn_client_answer check_topic_to_publish(const struct sn_client *c,
                                                    struct sn_topic_ref topic)
{
    uint8_t name[2];

    switch (topic.kind) {
    case SN_TOPIC_NORMAL:
        if (sn_topic_check_name(topic.name) != SN_OK) {
            return SN_ANSWER_BAD_TOPIC;
        }
        return topic.name.len <= c->cfg->name_size && c->cfg->topics_max > 0 &&
                       snc_fits(c, 6, topic.name.len)
                   ? SN_ANSWER_DONE
                   : SN_ANSWER_TOO_LARGE;
    case SN_TOPIC_PREDEFINED:
        return snc_is_assignable(topic.tid) ? SN_ANSWER_DONE : SN_ANSWER_BAD_TOPIC;
    case SN_TOPIC_SHORT:
        name[0] = (uint8_t)(topic.tid >> 8);
        name[1] = (uint8_t)topic.tid;
        return sn_topic_check_name(sn_bytes(name, 2)) == SN_OK ? SN_ANSWER_DONE
                                                               : SN_ANSWER_BAD_TOPIC;
    case SN_TOPIC_RESERVED:
        break;
    }
    return SN_ANSWER_BAD_TOPIC;
}

/* QoS 0 with a known id, and QoS -1: sent and forgotten. */
static enum sn_client_answer publish_and_forget(struct sn_client *c, uint64_t now_ms,
                                                struct sn_topic_ref topic, int8_t qos, bool retain,
                                                struct sn_bytes data)
{
    snc_send(
        c, now_ms,
        &(struct sn_packet){
            .type = SN_PUBLISH,
            .publish =
                {.qos = qos, .retain = retain, .kind = topic.kind, .tid = topic.tid, .data = data},
        });
    return SN_ANSWER_DONE;
}

/* Why a request cannot be opened now; DONE if it can. */
static enum sn_client_answer check_state(const struct sn_client *c)
{
    if (c->state == SN_CLIENT_DROWSY || c->state == SN_CLIENT_AWAKE) {
        return SN_ANSWER_BUSY;
    }
    return c->state == SN_CLIENT_ACTIVE ? SN_ANSWER_DONE : SN_ANSWER_NOT_CONNECTED;
}

enum sn_client_answer sn_client_publish(struct sn_client *c, uint64_t now_ms,
                                        struct sn_topic_ref topic, int8_t qos, bool retain,
                                        struct sn_bytes data)
{
    if (qos < SN_QOS_MINUS_ONE || qos > 2) {
        return SN_ANSWER_BAD_QOS;
    }
    if (qos == SN_QOS_MINUS_ONE && topic.kind == SN_TOPIC_NORMAL) {
        return SN_ANSWER_BAD_TOPIC;
    }
    enum sn_client_answer answer = check_topic_to_publish(c, topic);
    if (answer != SN_ANSWER_DONE) {
        return answer;
    }
    if (!snc_fits(c, 7, data.len)) {
        return SN_ANSWER_TOO_LARGE;
    }
    if (qos == SN_QOS_MINUS_ONE) {
        if (c->state == SN_CLIENT_AWAKE) {
            return SN_ANSWER_BUSY;
        }
        return snc_choose_gateway(c) ? publish_and_forget(c, now_ms, topic, qos, retain, data)
                                     : SN_ANSWER_NOT_CONNECTED;
    }
    answer = check_state(c);
    if (answer != SN_ANSWER_DONE) {
        return answer;
    }
    const struct sn_client_topic *known =
        topic.kind == SN_TOPIC_NORMAL ? snc_find_name(c, topic.name) : NULL;
    if (qos == 0 && now_ms >= c->hold_ms &&
        (topic.kind != SN_TOPIC_NORMAL || (known != NULL && known->tid != 0))) {
        topic.tid = known != NULL ? known->tid : topic.tid;
        return publish_and_forget(c, now_ms, topic, qos, retain, data);
    }
    if (c->open.what != 0) {
        return SN_ANSWER_BUSY;
    }
    if (data.len > c->cfg->kept_size) {
        return SN_ANSWER_TOO_LARGE;
    }
    if (topic.kind == SN_TOPIC_NORMAL && known == NULL) {
        known = snc_place_for(c, topic.name);
    }
    snc_open_request(c, SN_PUBLISH, topic, qos, data);
    c->open.retain = retain;
    c->open.slot = known != NULL ? (uint16_t)(known - c->cfg->topics) : 0;
    snc_go_on(c, now_ms);
    return SN_ANSWER_STARTED;
}

static enum sn_client_answer check_filter(const struct sn_client *c, struct sn_topic_ref topic)
{
    switch (topic.kind) {
    case SN_TOPIC_NORMAL:
        if (sn_topic_check_filter(topic.name) != SN_OK) {
            return SN_ANSWER_BAD_TOPIC;
        }
        /* The messages of a plain name come under its id alone: it must be kept. */
        if (!sn_topic_has_wildcard(topic.name) &&
            (topic.name.len > c->cfg->name_size || c->cfg->topics_max == 0)) {
            return SN_ANSWER_TOO_LARGE;
        }
        return snc_fits(c, 5, topic.name.len) && topic.name.len <= c->cfg->kept_size
                   ? SN_ANSWER_DONE
                   : SN_ANSWER_TOO_LARGE;
    case SN_TOPIC_PREDEFINED:
    case SN_TOPIC_SHORT:
    case SN_TOPIC_RESERVED:
        break;
    }
    return check_topic_to_publish(c, topic);
}

static enum sn_client_answer subscribe_or_not(struct sn_client *c, uint64_t now_ms,
                                              enum sn_type what, struct sn_topic_ref topic,
                                              int8_t qos)
{
    enum sn_client_answer answer = check_filter(c, topic);

    if (answer == SN_ANSWER_DONE) {
        answer = check_state(c);
    }
    if (answer != SN_ANSWER_DONE) {
        return answer;
    }
    if (c->open.what != 0) {
        return SN_ANSWER_BUSY;
    }
    snc_open_request(c, what, topic, qos,
                     topic.kind == SN_TOPIC_NORMAL ? topic.name : sn_bytes(NULL, 0));
    snc_go_on(c, now_ms);
    return SN_ANSWER_STARTED;
}

enum sn_client_answer sn_client_subscribe(struct sn_client *c, uint64_t now_ms,
                                          struct sn_topic_ref topic, int8_t qos)
{
    if (qos < 0 || qos > 2) {
        return SN_ANSWER_BAD_QOS;
    }
    return subscribe_or_not(c, now_ms, SN_SUBSCRIBE, topic, qos);
}

enum sn_client_answer sn_client_unsubscribe(struct sn_client *c, uint64_t now_ms,
                                            struct sn_topic_ref topic)
{
    return subscribe_or_not(c, now_ms, SN_UNSUBSCRIBE, topic, 0);
}

static enum sn_client_answer check_will(const struct sn_client *c,
                                        const struct sn_client_will *will)
{
    if (sn_topic_check_name(will->topic) != SN_OK) {
        return SN_ANSWER_BAD_TOPIC;
    }
    if (will->qos < 0 || will->qos > 2) {
        return SN_ANSWER_BAD_QOS;
    }
    return snc_fits(c, 3, will->topic.len) && snc_fits(c, 2, will->message.len)
               ? SN_ANSWER_DONE
               : SN_ANSWER_TOO_LARGE;
}

enum sn_client_answer sn_client_set_will(struct sn_client *c, uint64_t now_ms,
                                         const struct sn_client_will *will)
{
    const bool wanted = will != NULL && will->topic.len > 0;
    const enum sn_client_answer answer = wanted ? check_will(c, will) : SN_ANSWER_DONE;

    if (answer != SN_ANSWER_DONE) {
        return answer;
    }
    /* In the middle of a dialogue the gateway would get half of each will. */
    if (c->state == SN_CLIENT_CONNECTING || c->state == SN_CLIENT_AWAKE ||
        (c->state == SN_CLIENT_ACTIVE && c->open.what != 0) || c->open.what == SN_WILLTOPICUPD) {
        return SN_ANSWER_BUSY;
    }
    c->will = wanted ? *will : (struct sn_client_will){0};
    c->will_state = wanted ? SNC_WILL_NEW : SNC_WILL_DELETE;
    if (c->state != SN_CLIENT_ACTIVE) {
        return SN_ANSWER_DONE;
    }
    snc_open_request(c, SN_WILLTOPICUPD, (struct sn_topic_ref){.kind = SN_TOPIC_RESERVED}, 0,
                     sn_bytes(NULL, 0));
    snc_go_on(c, now_ms);
    return SN_ANSWER_STARTED;
}

void sn_client_cancel(struct sn_client *c)
{
    snc_finish_open(c, SN_RESULT_CANCELLED);
}

enum sn_client_state sn_client_state(const struct sn_client *c)
{
    return (enum sn_client_state)c->state;
}

bool sn_client_is_busy(const struct sn_client *c)
{
    return c->open.what != 0;
}

const char *sn_client_answer_name(enum sn_client_answer answer)
{
    switch (answer) {
    case SN_ANSWER_STARTED:
        return "started";
    case SN_ANSWER_DONE:
        return "done";
    case SN_ANSWER_BUSY:
        return "busy";
    case SN_ANSWER_NOT_CONNECTED:
        return "not-connected";
    case SN_ANSWER_BAD_TOPIC:
        return "bad-topic";
    case SN_ANSWER_BAD_QOS:
        return "bad-qos";
    case SN_ANSWER_TOO_LARGE:
        return "too-large";
    }
    return NULL;
}
