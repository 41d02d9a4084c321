#include "bridge/store_sqlite.h"

#include <stdio.h>

#include "bridge/timeline.h"

#define MARK_MS 60000u /* how old the mark may be while there are commits */

const char *const db_marks[4] = {"own_ms", "wall_ms", "boot_ms", "boot"};

/* The kernel gives each start of the machine a name. */
static uint64_t boot_name(void)
{
    unsigned a = 0;
    unsigned b = 0;
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (file == NULL)
        return 0;
    const int found = fscanf(file, "%8x-%4x", &a, &b);
    fclose(file);
    return found == 2 ? (uint64_t)a << 16 | b : 0;
}

static struct timeline_mark now(const struct store *s)
{
    return (struct timeline_mark){.own_ms = store_own_ms(s),
                                  .wall_ms = store_now_ms(CLOCK_REALTIME),
                                  .boot_ms = store_now_ms(CLOCK_BOOTTIME),
                                  .boot = boot_name()};
}

static int put_mark(struct store *s)
{
    const struct timeline_mark mark = now(s);
    const uint64_t values[] = {mark.own_ms, mark.wall_ms, mark.boot_ms, mark.boot};
    int rc = SQLITE_OK;

    for (size_t i = 0; rc == SQLITE_OK && i < 4; i++)
        rc = db_put_meta(&s->file->db, db_marks[i], values[i]);
    return rc;
}

int file_mark_in_turn(struct store *s)
{
    const uint64_t then_ms = s->file->marked_ms;

    if (then_ms != 0 && store_now_ms(CLOCK_MONOTONIC) - then_ms < MARK_MS)
        return SQLITE_OK;
    s->file->marked_ms = store_now_ms(CLOCK_MONOTONIC);
    return put_mark(s);
}

void store_file_mark(struct store *s)
{
    int rc = SQLITE_CANTOPEN;

    s->file->marked_ms = 0;
    if (s->file->db.handle != NULL)
        rc = file_set_page_limit(s, s->file->pages_others);
    if (rc == SQLITE_OK)
        rc = db_run(s->file->db.statements[BEGIN]);
    if (rc == SQLITE_OK)
        rc = file_end_transaction(s, put_mark(s));
    if (rc == SQLITE_OK)
        s->file->marked_ms = store_now_ms(CLOCK_MONOTONIC);
}

/* Without a whole mark the wall clock is all there is. */
void file_resume_time(struct store *s)
{
    const struct timeline_mark today = now(s);
    uint64_t values[4] = {0};
    int rc = SQLITE_OK;

    for (size_t i = 0; rc == SQLITE_OK && i < 4; i++)
        rc = db_get_meta(&s->file->db, db_marks[i], &values[i]);
    const struct timeline_mark last = {.own_ms = rc == SQLITE_OK ? values[0] : 0,
                                       .wall_ms = values[1],
                                       .boot_ms = values[2],
                                       .boot = values[3]};
    s->own_ms = timeline_resume(&last, &today) - store_now_ms(CLOCK_MONOTONIC);
    store_file_mark(s);
}
