/* Preloaded into a process and its children: kills their process group at the n-th libc call that changes files, before the call is made,
 * or after half of it where it is a write and `torn` is set. Also notes renames of files whose bytes were never synced.
 *
 * Everything goes through one mapped file, so that all processes of the group count in one counter and a harness outside can arm and
 * read it: the header {count, at, torn, armed}, the files with unsynced bytes, and a trace of the calls.
 *
 * Not seen: bytes written through a mapping (mmap) or through stdio (fopen and mkstemp are counted, the flush is a call inside libc),
 * and calls made without libc. A child that leaves the group, such as a detached `git gc`, is neither counted nor killed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { DIRTY = 1024, CALLS = 16384, NEXT_LEADER = -1 };

struct shared {
    /* `at` 0 only counts. `armed` is the process group that counts, 0 for none; NEXT_LEADER becomes the group of the next process that
     * leads one: a harness cannot know the number of a process before it runs. */
    _Atomic int64_t count, at, torn, armed;
    _Atomic uint64_t dirty[DIRTY];
    struct { char name[24], program[40]; uint64_t bytes; } calls[CALLS];
};

static struct shared *shared;
static char program[40];

/* What this process is, for the trace: the program's name, and of a Git the command too, which stands behind its `-c` options. */
static void name_program(void) {
    char line[4096];
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    if (fd >= 0) syscall(SYS_close, fd);
    if (n <= 0) return;
    line[n] = 0;
    const char *end = line + n, *word = line, *slash = strrchr(line, '/');
    const char *name = slash ? slash + 1 : line;
    word += strlen(word) + 1;
    if (strcmp(name, "git") == 0) while (word < end && (strcmp(word, "-c") == 0 || strcmp(word, "-C") == 0)) {
        word += strlen(word) + 1;
        if (word < end) word += strlen(word) + 1;
    }
    snprintf(program, sizeof program, strcmp(name, "git") || word >= end ? "%.16s" : "%.3s %.30s", name, word);
}

static int watched(void) { return shared && shared->armed == getpgrp(); }

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("KITTY_CRASH_COUNTER");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    struct stat st;
    /* The harness writes the header only; the file never shrinks, since another process may have it mapped. */
    if (fstat(fd, &st) == 0 && (st.st_size >= (off_t)sizeof *shared || syscall(SYS_ftruncate, fd, sizeof *shared) == 0)) {
        void *found = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (found != MAP_FAILED) shared = found;
    }
    syscall(SYS_close, fd);
    if (shared) name_program();
    int64_t next = NEXT_LEADER;
    if (shared && getpid() == getpgrp()) atomic_compare_exchange_strong(&shared->armed, &next, getpgrp());
}

/* Only for the leader of a group: a group that somebody else leads may hold the test runner. */
int crash_arm(long at, int torn) {
    if (!shared || getpid() != getpgrp()) return -1;
    shared->armed = 0;
    shared->count = 0;
    shared->at = at;
    shared->torn = torn;
    for (int i = 0; i < DIRTY; i++) shared->dirty[i] = 0;
    shared->armed = getpgrp();
    return 0;
}

void crash_disarm(void) { if (shared) shared->armed = 0; }

long crash_count(void) { return shared ? (long)shared->count : -1; }

static void die(void) {
    kill(0, SIGKILL);
    for (;;) pause();
}

/* Every counted call passes here first. True where the caller has to write half of its bytes and `die`. */
static int point(const char *name, uint64_t bytes) {
    if (!watched()) return 0;
    int64_t mine = ++shared->count, at = shared->at;
    if (mine <= CALLS) {
        strncpy(shared->calls[mine - 1].name, name, sizeof shared->calls[0].name - 1);
        memcpy(shared->calls[mine - 1].program, program, sizeof program);
        shared->calls[mine - 1].bytes = bytes;
    }
    if (at && mine == at) {
        if (shared->torn && bytes > 1) return 1;
        die();
    }
    /* Another process of the group is at the point now: nothing may happen after it until the signal is here. */
    if (at && mine > at) for (;;) pause();
    return 0;
}

/* The lint: files with unsynced bytes, as hashes of device and inode. There is no lock, which a killed process would leave taken. */

static uint64_t key(const struct stat *st) { return ((uint64_t)st->st_dev * 0x9E3779B97F4A7C15u ^ (uint64_t)st->st_ino) | 1u << 31; }

static void note(const char *what, const char *source, const char *target) {
    const char *path = getenv("KITTY_CRASH_LINT");
    char comm[32] = "?", line[8192];
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/comm", O_RDONLY);
    if (fd >= 0) {
        ssize_t n = read(fd, comm, sizeof comm - 1);
        if (n > 0) comm[n - 1] = 0;
        syscall(SYS_close, fd);
    }
    if (!path || (fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0) return;
    int n = snprintf(line, sizeof line, "%s %s -> %s by %s %d\n", what, source, target, comm, (int)getpid());
    if (syscall(SYS_write, fd, line, n < (int)sizeof line ? n : (int)sizeof line) < 0) abort();
    syscall(SYS_close, fd);
}

static void forget(int fd) {
    struct stat st;
    if (!watched() || fstat(fd, &st)) return;
    for (int i = 0; i < DIRTY; i++) if (shared->dirty[i] == key(&st)) shared->dirty[i] = 0;
}

static void remember(int fd) {
    struct stat st;
    if (!watched() || fstat(fd, &st) || !S_ISREG(st.st_mode)) return;
    for (int i = 0; i < DIRTY; i++) if (shared->dirty[i] == key(&st)) return;
    for (int i = 0; i < DIRTY; i++) {
        uint64_t none = 0;
        if (atomic_compare_exchange_strong(&shared->dirty[i], &none, key(&st))) return;
    }
    note("no room to watch", "a file", "the lint"); /* else its silence would mean nothing */
}

static int unsynced(int directory, const char *path) {
    struct stat st;
    if (!watched() || fstatat(directory, path, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode)) return 0;
    for (int i = 0; i < DIRTY; i++) if (shared->dirty[i] == key(&st)) return 1;
    return 0;
}

/* An inode number comes back for a new file once the old one is gone; a file without bytes has none to sync. */
static int opened(int fd, int flags) {
    struct stat st;
    if (fd >= 0 && flags & O_CREAT && watched() && fstat(fd, &st) == 0 && st.st_size == 0) forget(fd);
    return fd;
}

static int regular(int fd) {
    struct stat st;
    return shared && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static void before_write(const char *name, int fd, const struct iovec *parts, int n, off_t offset) {
    size_t total = 0;
    if (!regular(fd)) return;
    for (int i = 0; i < n; i++) total += parts[i].iov_len;
    if (!point(name, total)) return;
    size_t left = total / 2;
    for (int i = 0; i < n && left; i++) {
        size_t part = parts[i].iov_len < left ? parts[i].iov_len : left;
        long done = offset < 0 ? syscall(SYS_write, fd, parts[i].iov_base, part)
                               : syscall(SYS_pwrite64, fd, parts[i].iov_base, part, offset);
        if (done < 0) break;
        left -= part;
        if (offset >= 0) offset += (off_t)part;
    }
    die();
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name);

#define COUNTED(name, parameters, arguments) \
    int name parameters { REAL(name) point(#name, 0); return real arguments; }
COUNTED(symlink, (const char *a, const char *b), (a, b))
COUNTED(symlinkat, (const char *a, int d, const char *b), (a, d, b))
COUNTED(unlink, (const char *a), (a))
COUNTED(unlinkat, (int d, const char *a, int f), (d, a, f))
COUNTED(remove, (const char *a), (a))
COUNTED(mkdir, (const char *a, mode_t m), (a, m))
COUNTED(mkdirat, (int d, const char *a, mode_t m), (d, a, m))
COUNTED(rmdir, (const char *a), (a))
COUNTED(chmod, (const char *a, mode_t m), (a, m))
COUNTED(fchmod, (int fd, mode_t m), (fd, m))
COUNTED(fchmodat, (int d, const char *a, mode_t m, int f), (d, a, m, f))
COUNTED(mkstemp, (char *a), (a))
COUNTED(mkstemp64, (char *a), (a))
COUNTED(mkostemp, (char *a, int f), (a, f))
COUNTED(mkostemp64, (char *a, int f), (a, f))

#define OPEN(name, parameters, call) \
    int name parameters { \
        REAL(name) \
        mode_t mode = 0; \
        if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        if (flags & (O_CREAT | O_TRUNC)) point(#name, 0); \
        int fd = call; \
        return opened(fd, flags); \
    }
OPEN(open, (const char *path, int flags, ...), real(path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), real(path, flags, mode))
OPEN(openat, (int d, const char *path, int flags, ...), real(d, path, flags, mode))
OPEN(openat64, (int d, const char *path, int flags, ...), real(d, path, flags, mode))
#define CREAT(name) int name(const char *path, mode_t m) { REAL(name) point(#name, 0); return opened(real(path, m), O_CREAT); }
CREAT(creat)
CREAT(creat64)
#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) { REAL(name) if (strpbrk(mode, "wa+")) point(#name, 0); return real(path, mode); }
FOPEN(fopen)
FOPEN(fopen64)

#define SYNC(name) \
    int name(int fd) { REAL(name) point(#name, 0); int result = real(fd); if (result == 0) forget(fd); return result; }
SYNC(fsync)
SYNC(fdatasync)

/* A link too: it is how Git gives a finished object its name. */
#define NAMED(name, parameters, arguments, what, from, source, target) \
    int name parameters { \
        REAL(name) \
        point(#name, 0); \
        int bad = unsynced(from, source), result = real arguments; \
        if (bad && result == 0) note(what, source, target); \
        return result; \
    }
#define RENAME "rename of unsynced"
#define LINK "link of unsynced"
NAMED(rename, (const char *a, const char *b), (a, b), RENAME, AT_FDCWD, a, b)
NAMED(renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), RENAME, d, a, b)
NAMED(renameat2, (int d, const char *a, int e, const char *b, unsigned f), (d, a, e, b, f), RENAME, d, a, b)
NAMED(link, (const char *a, const char *b), (a, b), LINK, AT_FDCWD, a, b)
NAMED(linkat, (int d, const char *a, int e, const char *b, int f), (d, a, e, b, f), LINK, d, a, b)

#define WRITE(name, parameters, arguments, parts, n, offset) \
    ssize_t name parameters { \
        REAL(name) \
        before_write(#name, fd, parts, n, offset); \
        ssize_t done = real arguments; \
        if (done > 0) remember(fd); \
        return done; \
    }
#define ONE (&(struct iovec){(void *)bytes, size})
WRITE(write, (int fd, const void *bytes, size_t size), (fd, bytes, size), ONE, 1, -1)
WRITE(pwrite, (int fd, const void *bytes, size_t size, off_t at), (fd, bytes, size, at), ONE, 1, at)
WRITE(pwrite64, (int fd, const void *bytes, size_t size, off64_t at), (fd, bytes, size, at), ONE, 1, at)
WRITE(writev, (int fd, const struct iovec *parts, int n), (fd, parts, n), parts, n, -1)
WRITE(pwritev, (int fd, const struct iovec *parts, int n, off_t at), (fd, parts, n, at), parts, n, at)
WRITE(pwritev64, (int fd, const struct iovec *parts, int n, off64_t at), (fd, parts, n, at), parts, n, at)
WRITE(pwritev2, (int fd, const struct iovec *parts, int n, off_t at, int f), (fd, parts, n, at, f), parts, n, at)
WRITE(pwritev64v2, (int fd, const struct iovec *parts, int n, off64_t at, int f), (fd, parts, n, at, f), parts, n, at)

#define CHANGE(type, name, parameters, arguments) \
    type name parameters { REAL(name) if (regular(fd)) point(#name, 0); type done = real arguments; if (done >= 0) remember(fd); return done; }
CHANGE(int, ftruncate, (int fd, off_t size), (fd, size))
CHANGE(int, ftruncate64, (int fd, off64_t size), (fd, size))
CHANGE(int, fallocate, (int fd, int how, off_t at, off_t size), (fd, how, at, size))
CHANGE(int, fallocate64, (int fd, int how, off64_t at, off64_t size), (fd, how, at, size))
CHANGE(int, posix_fallocate, (int fd, off_t at, off_t size), (fd, at, size))
CHANGE(int, posix_fallocate64, (int fd, off64_t at, off64_t size), (fd, at, size))
CHANGE(ssize_t, sendfile, (int fd, int from, off_t *at, size_t size), (fd, from, at, size))
CHANGE(ssize_t, sendfile64, (int fd, int from, off64_t *at, size_t size), (fd, from, at, size))
CHANGE(ssize_t, copy_file_range, (int from, off64_t *a, int fd, off64_t *b, size_t size, unsigned f), (from, a, fd, b, size, f))
COUNTED(truncate, (const char *a, off_t size), (a, size))
COUNTED(truncate64, (const char *a, off64_t size), (a, size))
