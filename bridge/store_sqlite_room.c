#include "bridge/store_sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PAGE_BYTES    4096u
#define WAL_BYTES     ((uint64_t)8 << 20) /* on a disk of 64 MiB and more */
#define WAL_BYTES_MIN ((uint64_t)64 << 10)
#define RESERVE_MORE  ((uint64_t)128 << 10) /* beyond the size of the WAL, for its index */
#define AMPLE_BYTES   ((uint64_t)64 << 20)  /* with so much there is nothing to compute */
#define ROOM_PAGES    16u                   /* a store with less room is full */
#define LOCAL_BYTES   900u                  /* of a larger row the end has pages of its own */
#define PAGES_PER_OP  4u                    /* that deleting a row changes, at most */
#define TREE_PAGES    16u                   /* of a transaction, beside those of its rows */

static uint64_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* Of the file system, for everybody who is not root. */
static uint64_t free_bytes(const struct store *s)
{
    struct statvfs v;
    return fstatvfs(s->lock_fd, &v) == 0 ? (uint64_t)v.f_bavail * v.f_frsize : UINT64_MAX;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* ---- octets that nobody else can take ------------------------------------------- */

/* Zeros would take no room where the file system compresses them. */
static bool fill_with_noise(int fd, uint64_t size)
{
    uint32_t block[PAGE_BYTES / sizeof(uint32_t)];
    uint32_t noise = 1;

    for (uint64_t at = 0; at < size; at += sizeof block) {
        for (size_t i = 0; i < sizeof block / sizeof block[0]; i++) {
            noise = noise * 1664525u + 1013904223u;
            block[i] = noise ^ noise >> 15;
        }
        if (pwrite(fd, block, sizeof block, (off_t)at) != (ssize_t)sizeof block)
            return false;
    }
    return fsync(fd) == 0;
}

static bool fill(int fd, uint64_t size)
{
    return fallocate(fd, 0, 0, (off_t)size) == 0 ||
           (errno == EOPNOTSUPP && fill_with_noise(fd, size));
}

/* SQLite writes over what lies behind the end of the WAL, and never reads it. */
static void fill_wal(struct store *s)
{
    const int fd = open(s->path_wal, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    const uint64_t size = size_of(s->path_wal);
    s->file->wal_whole =
        size >= s->file->wal_bytes || fallocate(fd, 0, 0, (off_t)s->file->wal_bytes) == 0;
    close(fd);
}

static uint64_t reserve_bytes(const struct store *s)
{
    return s->file->wal_bytes + RESERVE_MORE;
}

static void drop_reserve(struct store *s)
{
    s->file->reserve_whole = ftruncate(s->file->reserve_fd, 0) != 0;
}

void file_room_keep(struct store *s)
{
    struct store_file *f = s->file;
    struct stat st;

    if (!f->wal_whole)
        fill_wal(s);
    if (f->reserve_whole || f->reserve_fd < 0 || fstat(f->reserve_fd, &st) != 0)
        return;
    const uint64_t want = reserve_bytes(s);
    const uint64_t have = (uint64_t)st.st_blocks * 512;
    if (have < want && free_bytes(s) < want - have)
        return;
    f->reserve_whole = fill(f->reserve_fd, want) && ftruncate(f->reserve_fd, (off_t)want) == 0;
    if (!f->reserve_whole)
        drop_reserve(s);
}

/* What is given back is used at once, before others can take it: the WAL gets its
 * full size, and the file the pages that the WAL has for it. */
bool file_room_give(struct store *s)
{
    if (!s->file->reserve_whole || s->file->reserve_fd < 0 || free_bytes(s) >= reserve_bytes(s))
        return false;
    drop_reserve(s);
    if (s->file->db.handle != NULL) {
        s->file->wal_whole = false;
        fill_wal(s);
        file_checkpoint(s);
    }
    return true;
}

/* ---- how much fits ------------------------------------------------------------------ */

uint64_t file_pages_of(const struct store_batch *batch)
{
    uint64_t pages = TREE_PAGES;

    for (const struct store_op *op = batch->first; op != NULL; op = op->next) {
        if (op->type != BRIDGE_DO_STORE || op->dead || op->refused)
            continue;
        const uint64_t bytes = op->message.topic.len + op->message.payload.len;
        pages += 1 + (bytes > LOCAL_BYTES ? 1 + bytes / PAGE_BYTES : 0);
    }
    return pages;
}

uint32_t file_ops_that_fit(const struct store *s)
{
    const uint64_t ops = s->file->wal_bytes / PAGE_BYTES / PAGES_PER_OP / 2;
    return ops > 0 ? (uint32_t)ops : 1;
}

/* A page that is new in the file is owed to it until the next checkpoint; one from the
 * list of free pages costs nothing, nor does a place in the WAL that it has already. */
bool file_has_room(struct store *s, uint64_t pages)
{
    struct store_file *f = s->file;
    const uint64_t bytes = free_bytes(s);
    const bool safe = f->reserve_whole || f->reserve_fd < 0;
    uint64_t used = 0;
    uint64_t unused = 0;

    if (f->pages_stores == 0 && safe && less(bytes, 2 * pages * PAGE_BYTES) > AMPLE_BYTES)
        return true;
    if (db_number(&f->db, "PRAGMA page_count", &used) != SQLITE_OK ||
        db_number(&f->db, "PRAGMA freelist_count", &unused) != SQLITE_OK)
        return true; /* then it is not for want of room that it fails */
    const uint64_t more = less(pages, unused);
    if (f->pages_stores != 0 && more > 0 && used + more > f->pages_stores)
        return false;
    const uint64_t wal = less(size_of(s->path_wal), (uint64_t)f->wal_pages * PAGE_BYTES);
    const uint64_t wal_more = less(pages * PAGE_BYTES, wal);
    if (more == 0 && wal_more == 0)
        return true;
    const uint64_t owed = less(used * PAGE_BYTES, size_of(s->path));
    return safe && bytes >= owed + more * PAGE_BYTES + wal_more;
}

bool store_file_has_room(struct store *s)
{
    file_room_keep(s);
    return s->file->db.handle == NULL || file_has_room(s, ROOM_PAGES);
}

bool store_file_is_short(const struct store *s)
{
    return s->file->reserve_fd >= 0 && !s->file->reserve_whole;
}

/* ---- checkpoints ------------------------------------------------------------------------ */

/* Called by SQLite after each commit, with what the WAL holds now. */
static int count_pages(void *file, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    ((struct store_file *)file)->wal_pages = (uint32_t)pages;
    return SQLITE_OK;
}

void file_watch_wal(struct store *s)
{
    sqlite3_wal_hook(s->file->db.handle, count_pages, s->file);
    s->file->wal_whole = false;
}

int file_checkpoint(struct store *s)
{
    int pages = 0;
    int done = 0;
    const int rc = sqlite3_wal_checkpoint_v2(s->file->db.handle, NULL, SQLITE_CHECKPOINT_PASSIVE,
                                             &pages, &done);
    /* When all of it is in the file the next transaction begins it anew. */
    if (rc == SQLITE_OK && pages >= 0)
        s->file->wal_pages = pages == done ? 0 : (uint32_t)pages;
    return rc;
}

/* What fails here is tried again after the next commit. */
void file_tidy(struct store *s)
{
    if ((uint64_t)s->file->wal_pages * PAGE_BYTES >= s->file->wal_bytes / 2 &&
        db_is_full(&s->file->db, file_checkpoint(s)))
        file_room_give(s);
    file_room_keep(s);
}

/* ---- life -------------------------------------------------------------------------------- */

void file_room_open(struct store *s)
{
    char path[STORE_PATH_BYTES];
    struct store_file *f = s->file;

    snprintf(path, sizeof path, "%.*s.reserve", (int)(sizeof path - STORE_SUFFIX_BYTES), s->path);
    f->reserve_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    const uint64_t own = size_of(s->path) + size_of(s->path_wal) + size_of(path);
    const uint64_t bytes = free_bytes(s);
    uint64_t wal = WAL_BYTES;
    if (bytes < UINT64_MAX - own && (bytes + own) / 8 < wal)
        wal = (bytes + own) / 8;
    if (wal < WAL_BYTES_MIN)
        wal = WAL_BYTES_MIN;
    if (s->max_bytes > 0 && wal > s->max_bytes / 4)
        wal = s->max_bytes / 4;
    f->wal_bytes = wal / PAGE_BYTES * PAGE_BYTES;
    /* To open the file takes a WAL and its index. */
    f->reserve_whole = true;
    if (f->reserve_fd >= 0 && bytes < reserve_bytes(s))
        file_room_give(s);
    f->reserve_whole = false;
}

void file_room_close(struct store *s)
{
    if (s->file->reserve_fd >= 0)
        close(s->file->reserve_fd);
}
