/* A disk with trouble, as a layer between SQLite and the real files.
 *
 * It is told to fail: every write, sync or read returns an error of choice. It
 * is told to hold still: syncs wait until they are let go, so that a test can
 * look at what happens while a commit runs. And it keeps books: for each file
 * it knows what has been synced and what was only written, so that at any
 * moment it can lay out what a power cut would leave behind: the synced
 * content, and of the rest nothing, or the beginning, or any part in any order,
 * the last sector torn. Creating, renaming and deleting files counts as durable
 * at once.
 *
 * For one test program: everything is static. disk_install() makes it SQLite's
 * default; there is one disk.
 */
#ifndef TESTS_FAULTY_DISK_H
#define TESTS_FAULTY_DISK_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DISK_FILES  8
#define DISK_SECTOR 512

struct disk_change {
    struct disk_change *next;
    bool truncate;
    sqlite3_int64 at;
    int len;
    uint8_t bytes[];
};

struct disk_book {
    char path[512];
    uint8_t *synced;
    size_t size;
    size_t room;
    struct disk_change *first;
    struct disk_change *last;
};

static struct disk {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    atomic_int write_error; /* 0: none */
    atomic_int sync_error;
    atomic_int read_error;
    atomic_int writes; /* since disk_install(), failed ones too */
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    bool holding;
    int held; /* syncs that wait */
    bool keeping_books;
    struct disk_book books[DISK_FILES];
    void (*before_change)(void); /* called with the books open */
} disk = {.mutex = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

struct disk_file {
    sqlite3_file base;
    struct disk_book *book; /* NULL: not kept */
    sqlite3_file *real;
};

static sqlite3_file *disk_real(sqlite3_file *f)
{
    return ((struct disk_file *)(void *)f)->real;
}

/* ---- books ----------------------------------------------------------------- */

static void disk_resize(struct disk_book *b, size_t size)
{
    if (size > b->room) {
        b->room = 2 * size;
        b->synced = realloc(b->synced, b->room);
        if (b->synced == NULL)
            abort();
    }
    if (size > b->size)
        memset(b->synced + b->size, 0, size - b->size);
    b->size = size;
}

static void disk_carry_out(struct disk_book *b, const struct disk_change *c, int len)
{
    if (c->truncate) {
        disk_resize(b, (size_t)c->at);
        return;
    }
    if ((size_t)c->at + (size_t)len > b->size)
        disk_resize(b, (size_t)c->at + (size_t)len);
    memcpy(b->synced + c->at, c->bytes, (size_t)len);
}

static void disk_forget_changes(struct disk_book *b)
{
    while (b->first != NULL) {
        struct disk_change *c = b->first;
        b->first = c->next;
        free(c);
    }
    b->last = NULL;
}

static void disk_enter(struct disk_file *f, bool truncate, const void *bytes, int len,
                       sqlite3_int64 at)
{
    if (f->book == NULL)
        return;
    struct disk_change *c = malloc(sizeof *c + (size_t)len);
    if (c == NULL)
        abort();
    *c = (struct disk_change){.truncate = truncate, .at = at, .len = len};
    if (len > 0)
        memcpy(c->bytes, bytes, (size_t)len);
    pthread_mutex_lock(&disk.mutex);
    if (disk.before_change != NULL)
        disk.before_change();
    if (f->book->last == NULL)
        f->book->first = c;
    else
        f->book->last->next = c;
    f->book->last = c;
    pthread_mutex_unlock(&disk.mutex);
}

static struct disk_book *disk_open_book(const char *path)
{
    struct disk_book *free_book = NULL;

    for (int i = 0; i < DISK_FILES; i++) {
        if (strcmp(disk.books[i].path, path) == 0)
            return &disk.books[i];
        if (disk.books[i].path[0] == '\0' && free_book == NULL)
            free_book = &disk.books[i];
    }
    if (free_book == NULL)
        abort();
    snprintf(free_book->path, sizeof free_book->path, "%s", path);
    free_book->size = 0;
    FILE *in = fopen(path, "rb");
    if (in != NULL) {
        uint8_t page[4096];
        for (size_t len; (len = fread(page, 1, sizeof page, in)) > 0;) {
            disk_resize(free_book, free_book->size + len);
            memcpy(free_book->synced + free_book->size - len, page, len);
        }
        fclose(in);
    }
    return free_book;
}

/* What a power cut at this moment would leave of every file, in folder. choose()
 * gives random numbers. Call it from before_change. */
static void disk_cut(const char *folder, uint32_t (*choose)(void))
{
    const uint32_t manner = choose() % 4;

    for (int i = 0; i < DISK_FILES; i++) {
        struct disk_book *b = &disk.books[i];
        if (b->path[0] == '\0')
            continue;
        struct disk_book image = {0};
        disk_resize(&image, b->size);
        if (b->size > 0)
            memcpy(image.synced, b->synced, b->size);
        bool stopped = manner == 0;
        for (const struct disk_change *c = b->first; c != NULL; c = c->next) {
            int len = c->len;
            if (manner == 1 && choose() % 8 == 0)
                stopped = true;
            if (stopped || (manner >= 2 && choose() % 2 == 0))
                continue;
            if (manner == 3 && choose() % 2 == 0 && len > DISK_SECTOR)
                len = (int)(choose() % (uint32_t)(len / DISK_SECTOR)) * DISK_SECTOR;
            disk_carry_out(&image, c, len);
        }
        const char *name = strrchr(b->path, '/');
        char path[1024];
        snprintf(path, sizeof path, "%s%s", folder, name);
        FILE *out = fopen(path, "wb");
        if (out == NULL || (image.size > 0 && fwrite(image.synced, image.size, 1, out) != 1))
            abort();
        fclose(out);
        free(image.synced);
    }
}

static void disk_keep_books(bool keep)
{
    pthread_mutex_lock(&disk.mutex);
    disk.keeping_books = keep;
    for (int i = 0; i < DISK_FILES; i++) {
        disk_forget_changes(&disk.books[i]);
        free(disk.books[i].synced);
        disk.books[i] = (struct disk_book){0};
    }
    pthread_mutex_unlock(&disk.mutex);
}

/* ---- files ----------------------------------------------------------------- */

static int disk_close(sqlite3_file *f)
{
    return disk_real(f)->pMethods->xClose(disk_real(f));
}

static int disk_read(sqlite3_file *f, void *out, int len, sqlite3_int64 at)
{
    const int error = atomic_load(&disk.read_error);
    return error != 0 ? error : disk_real(f)->pMethods->xRead(disk_real(f), out, len, at);
}

static int disk_write(sqlite3_file *f, const void *bytes, int len, sqlite3_int64 at)
{
    const int error = atomic_load(&disk.write_error);
    atomic_fetch_add(&disk.writes, 1);
    if (error != 0)
        return error;
    disk_enter((struct disk_file *)(void *)f, false, bytes, len, at);
    return disk_real(f)->pMethods->xWrite(disk_real(f), bytes, len, at);
}

static int disk_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    disk_enter((struct disk_file *)(void *)f, true, NULL, 0, size);
    return disk_real(f)->pMethods->xTruncate(disk_real(f), size);
}

static int disk_sync(sqlite3_file *f, int flags)
{
    struct disk_book *book = ((struct disk_file *)(void *)f)->book;
    const int error = atomic_load(&disk.sync_error);

    if (error != 0)
        return error;
    pthread_mutex_lock(&disk.mutex);
    if (book != NULL && disk.before_change != NULL)
        disk.before_change();
    disk.held++;
    pthread_cond_broadcast(&disk.moved);
    while (disk.holding)
        pthread_cond_wait(&disk.moved, &disk.mutex);
    disk.held--;
    if (book != NULL) {
        for (const struct disk_change *c = book->first; c != NULL; c = c->next)
            disk_carry_out(book, c, c->len);
        disk_forget_changes(book);
    }
    pthread_mutex_unlock(&disk.mutex);
    /* The real disk may take its time later: the books are what counts here. */
    return book != NULL ? SQLITE_OK : disk_real(f)->pMethods->xSync(disk_real(f), flags);
}

static int disk_size(sqlite3_file *f, sqlite3_int64 *out)
{
    return disk_real(f)->pMethods->xFileSize(disk_real(f), out);
}

static int disk_lock(sqlite3_file *f, int level)
{
    return disk_real(f)->pMethods->xLock(disk_real(f), level);
}

static int disk_unlock(sqlite3_file *f, int level)
{
    return disk_real(f)->pMethods->xUnlock(disk_real(f), level);
}

static int disk_check_lock(sqlite3_file *f, int *out)
{
    return disk_real(f)->pMethods->xCheckReservedLock(disk_real(f), out);
}

static int disk_control(sqlite3_file *f, int op, void *arg)
{
    return disk_real(f)->pMethods->xFileControl(disk_real(f), op, arg);
}

static int disk_sector(sqlite3_file *f)
{
    return disk_real(f)->pMethods->xSectorSize(disk_real(f));
}

static int disk_traits(sqlite3_file *f)
{
    return disk_real(f)->pMethods->xDeviceCharacteristics(disk_real(f));
}

static int disk_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return disk_real(f)->pMethods->xShmMap(disk_real(f), page, size, extend, out);
}

static int disk_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return disk_real(f)->pMethods->xShmLock(disk_real(f), offset, n, flags);
}

static void disk_shm_barrier(sqlite3_file *f)
{
    disk_real(f)->pMethods->xShmBarrier(disk_real(f));
}

static int disk_shm_unmap(sqlite3_file *f, int remove)
{
    return disk_real(f)->pMethods->xShmUnmap(disk_real(f), remove);
}

static int disk_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *out, int flags, int *given)
{
    static const sqlite3_io_methods methods = {
        .iVersion = 2,
        .xClose = disk_close,
        .xRead = disk_read,
        .xWrite = disk_write,
        .xTruncate = disk_truncate,
        .xSync = disk_sync,
        .xFileSize = disk_size,
        .xLock = disk_lock,
        .xUnlock = disk_unlock,
        .xCheckReservedLock = disk_check_lock,
        .xFileControl = disk_control,
        .xSectorSize = disk_sector,
        .xDeviceCharacteristics = disk_traits,
        .xShmMap = disk_shm_map,
        .xShmLock = disk_shm_lock,
        .xShmBarrier = disk_shm_barrier,
        .xShmUnmap = disk_shm_unmap,
    };
    struct disk_file *f = (struct disk_file *)(void *)out;
    (void)vfs;

    f->base.pMethods = NULL;
    f->real = (sqlite3_file *)(void *)(f + 1);
    f->book = NULL;
    if (path != NULL) {
        pthread_mutex_lock(&disk.mutex);
        f->book = disk.keeping_books ? disk_open_book(path) : NULL;
        pthread_mutex_unlock(&disk.mutex);
    }
    const int rc = disk.real->xOpen(disk.real, path, f->real, flags, given);
    if (f->real->pMethods != NULL)
        f->base.pMethods = &methods;
    return rc;
}

static int disk_delete(sqlite3_vfs *vfs, const char *path, int sync)
{
    (void)vfs;
    pthread_mutex_lock(&disk.mutex);
    for (int i = 0; i < DISK_FILES; i++) {
        if (strcmp(disk.books[i].path, path) == 0) {
            disk_forget_changes(&disk.books[i]);
            disk.books[i].path[0] = '\0';
            disk.books[i].size = 0;
        }
    }
    pthread_mutex_unlock(&disk.mutex);
    return disk.real->xDelete(disk.real, path, sync);
}

/* ---- for the tests --------------------------------------------------------- */

static void disk_install(void)
{
    disk.real = sqlite3_vfs_find(NULL);
    disk.vfs = *disk.real;
    disk.vfs.zName = "faulty";
    disk.vfs.pNext = NULL;
    disk.vfs.szOsFile = (int)sizeof(struct disk_file) + disk.real->szOsFile;
    disk.vfs.xOpen = disk_open;
    disk.vfs.xDelete = disk_delete;
    sqlite3_vfs_register(&disk.vfs, 1);
}

static void disk_hold(void)
{
    pthread_mutex_lock(&disk.mutex);
    disk.holding = true;
    pthread_mutex_unlock(&disk.mutex);
}

/* Waits until a sync waits; ends the program when none comes for a long time. */
static void disk_wait_held(void)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 20;
    pthread_mutex_lock(&disk.mutex);
    while (disk.held == 0) {
        if (pthread_cond_timedwait(&disk.moved, &disk.mutex, &end) != 0) {
            fprintf(stderr, "nothing was synced\n");
            abort();
        }
    }
    pthread_mutex_unlock(&disk.mutex);
}

static void disk_let_go(void)
{
    pthread_mutex_lock(&disk.mutex);
    disk.holding = false;
    pthread_cond_broadcast(&disk.moved);
    pthread_mutex_unlock(&disk.mutex);
}

#endif
