/* `test_pcapng --capture FILE` writes the capture that tests/tshark_pcapng.py shows to
 * tshark; what tshark must say of it is decided there. */
#include "sim/pcapng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void hear(struct sim_pcapng *p, enum sim_record_type type, enum sim_direction direction,
                 uint64_t at_us, const char *device, const struct sn_packet *packet)
{
    uint8_t frame[600];
    const size_t len = sn_encode(packet, frame, sizeof frame);
    sim_pcapng_hear(p, &(struct sim_record){.type = type,
                                            .at_us = at_us,
                                            .direction = direction,
                                            .link = "radio",
                                            .device = device,
                                            .why = type == SIM_FRAME_LOST ? "collision" : NULL,
                                            .bytes = sn_bytes(frame, len)});
}

static const struct sn_packet connect = {.type = SN_CONNECT,
                                         .connect = {.protocol_id = SN_PROTOCOL_ID,
                                                     .keepalive_s = 60,
                                                     .client_id = {(const uint8_t *)"buoy", 4}}};
static const struct sn_packet connack = {.type = SN_CONNACK, .code = SN_ACCEPTED};
static const struct sn_packet publish = {
    .type = SN_PUBLISH,
    .publish = {.qos = 1, .tid = 7, .mid = 9, .data = {(const uint8_t *)"21.5", 4}}};

/* A dialogue on one link; one frame of it is lost; one device is on another link. */
static void record_a_run(FILE *out)
{
    struct sim_pcapng *p = sim_pcapng_open(out);
    hear(p, SIM_FRAME_SENT, SIM_UP, 1000000, "buoy", &connect);
    hear(p, SIM_FRAME_ARRIVED, SIM_UP, 1500000, "buoy", &connect);
    hear(p, SIM_FRAME_ARRIVED, SIM_DOWN, 1750001, "buoy", &connack);
    hear(p, SIM_FRAME_LOST, SIM_UP, UINT64_C(5000000000), "buoy", &publish);
    uint8_t frame[3] = {3, SN_ADVERTISE, 1};
    sim_pcapng_hear(p, &(struct sim_record){.type = SIM_FRAME_ARRIVED,
                                            .at_us = UINT64_C(5000000001),
                                            .direction = SIM_DOWN,
                                            .link = "lan",
                                            .bytes = sn_bytes(frame, sizeof frame)});
    sim_pcapng_close(p);
}

static uint32_t number(const uint8_t *at)
{
    struct sn_reader r = sn_reader(sn_bytes(at, 4));
    return sn_read_u32(&r);
}

/* Walks the blocks by their first length and looks that the second says the same;
 * types in the order of appearance. */
static size_t walk(const uint8_t *file, size_t len, uint32_t *types, size_t max)
{
    size_t count = 0;
    for (size_t at = 0; at < len;) {
        const uint32_t total = number(file + at + 4);
        assert_true(total % 4 == 0 && total >= 12 && total <= len - at);
        assert_int_equal(number(file + at + total - 4), total);
        assert_true(count < max);
        types[count++] = number(file + at);
        at += total;
    }
    return count;
}

static void a_capture_is_whole_blocks_in_order(void **state)
{
    char *file = NULL;
    size_t len = 0;
    uint32_t types[16];
    /* section; link, its gateway, its device, three frames; link, its gateway, a frame */
    static const uint32_t want[] = {0x0A0D0D0A, 1, 4, 4, 6, 6, 6, 1, 4, 6};
    (void)state;

    FILE *out = open_memstream(&file, &len);
    record_a_run(out);
    fclose(out);
    assert_int_equal(walk((uint8_t *)file, len, types, 16), sizeof want / sizeof want[0]);
    assert_memory_equal(types, want, sizeof want);
    free(file);
}

static void what_was_only_sent_is_not_in_the_capture(void **state)
{
    char *file = NULL;
    size_t len = 0;
    uint32_t types[4];
    (void)state;

    FILE *out = open_memstream(&file, &len);
    struct sim_pcapng *p = sim_pcapng_open(out);
    hear(p, SIM_FRAME_SENT, SIM_UP, 1, "buoy", &connect);
    sim_pcapng_close(p);
    fclose(out);
    assert_int_equal(walk((uint8_t *)file, len, types, 4), 1);
    free(file);
}

/* UDP cannot carry the longest MQTT-SN message: the capture says how long it was. */
static void a_frame_longer_than_a_datagram_is_cut_and_its_length_kept(void **state)
{
    static uint8_t frame[SN_PACKET_MAX] = {1, 0xFF, 0xFF, SN_PUBLISH};
    char *file = NULL;
    size_t len = 0;
    uint32_t types[8];
    (void)state;

    FILE *out = open_memstream(&file, &len);
    struct sim_pcapng *p = sim_pcapng_open(out);
    sim_pcapng_hear(p, &(struct sim_record){.type = SIM_FRAME_ARRIVED,
                                            .link = "lan",
                                            .bytes = sn_bytes(frame, sizeof frame)});
    sim_pcapng_close(p);
    fclose(out);
    const size_t blocks = walk((uint8_t *)file, len, types, 8);
    assert_int_equal(types[blocks - 1], 6);
    const uint8_t *packet = (uint8_t *)file + len - number((uint8_t *)file + len - 4);
    assert_int_equal(number(packet + 20), 65535);
    assert_int_equal(number(packet + 24), 28 + SN_PACKET_MAX);
    free(file);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_capture_is_whole_blocks_in_order),
        cmocka_unit_test(what_was_only_sent_is_not_in_the_capture),
        cmocka_unit_test(a_frame_longer_than_a_datagram_is_cut_and_its_length_kept),
    };
    if (argc == 3 && strcmp(argv[1], "--capture") == 0) {
        FILE *out = fopen(argv[2], "wb");
        if (out == NULL)
            return 1;
        record_a_run(out);
        return fclose(out) == 0 ? 0 : 1;
    }
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
