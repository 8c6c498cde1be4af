/* Faults of a disk, one at a time, on demand: preloaded into every process of a sweep; see disk_faults.py.
 *
 * DISK_FAULTS_CONTROL is a folder. While it holds a file `order`, "CALL ERRNO HOW TEXT", the first call of that name on
 * a file under DISK_FAULTS_UNDER, in a process whose command line has the text, fails with that errno. Which process it
 * is is decided by renaming the order, and said in the renamed file. A write fails whole, or after half of it was
 * written (HOW `half`), or says itself that half was written (`short`). While there is a file `full`, nothing can be
 * written or made there, and no room is said to be left. While there is a file `nth`, "N ERRNO HOW", all those calls are
 * counted, by a byte each in `count`, and the N-th fails (HOW `once`), or all from there on do (`on`), or it kills its
 * process (`kill`).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

enum how { PASSED = 0, WHOLE, HALF, SHORT };

static const char *control, *under;

__attribute__((constructor)) static void begin(void) {
    const char *told = getenv("DISK_FAULTS_CONTROL"), *where = getenv("DISK_FAULTS_UNDER");
    control = told ? strdup(told) : 0; /* a process that shows another title writes over its environment */
    under = where ? strdup(where) : 0;
}

/* Whether this process's command line has a text. Read anew: a fork takes its own after it has begun. */
static int is_told(const char *text) {
    char command_line[65536];
    int file = syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    long size = syscall(SYS_read, file, command_line, sizeof command_line - 1);
    syscall(SYS_close, file);
    for (long i = 0; i < size; i++)
        if (!command_line[i]) command_line[i] = ' ';
    command_line[size > 0 ? size : 0] = 0;
    return !!strstr(command_line, text);
}

static int exists(const char *path) {
    return !syscall(SYS_faccessat, AT_FDCWD, path, F_OK);
}

static int is_full(void) {
    char name[4096];
    snprintf(name, sizeof name, "%s/full", control);
    return exists(name);
}

/* Whether this call is the one to fail of all that are counted; sets errno if so. */
static int is_nth(void) {
    char name[4096], text[64], how[32];
    int before = errno, failing;
    long nth;
    snprintf(name, sizeof name, "%s/nth", control);
    int file = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
    if (file < 0) return errno = before, 0;
    long size = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    text[size > 0 ? size : 0] = 0;
    if (sscanf(text, "%ld %d %31s", &nth, &failing, how) < 3) return errno = before, 0;
    snprintf(name, sizeof name, "%s/count", control);
    file = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    syscall(SYS_write, file, "x", 1);
    long number = syscall(SYS_lseek, file, 0, SEEK_CUR);
    syscall(SYS_close, file);
    errno = before;
    if (number < nth || (number > nth && strcmp(how, "on"))) return 0;
    if (!strcmp(how, "kill")) syscall(SYS_kill, getpid(), 9);
    return errno = failing, 1;
}

/* Whether this call is to fail; sets errno if so. */
static enum how ordered(const char *call, const char *path) {
    if (!control || !under || strncmp(path, under, strlen(under))) return PASSED;
    int before = errno;
    if (is_full() && (!strcmp(call, "write") || ((!strcmp(call, "create") || !strcmp(call, "mkdir")) && !exists(path))))
        return errno = ENOSPC, WHOLE;
    if (is_nth()) return WHOLE;
    char name[4096], taken[4096], text[512];
    snprintf(name, sizeof name, "%s/order", control);
    int file = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
    if (file < 0) return errno = before, PASSED;
    long size = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    text[size > 0 ? size : 0] = 0;
    char wanted[32], how[32];
    int number, place = 0;
    if (sscanf(text, "%31s %d %31s %n", wanted, &number, how, &place) < 3) return errno = before, PASSED;
    if (strcmp(wanted, call) || !is_told(text + place)) return errno = before, PASSED;
    snprintf(taken, sizeof taken, "%s/taken", control);
    if (syscall(SYS_renameat2, AT_FDCWD, name, AT_FDCWD, taken, 1 /* not over another */)) return errno = before, PASSED;
    int size_of_note = snprintf(name, sizeof name, "%d %s", getpid(), path);
    snprintf(text, sizeof text, "%s/said", control);
    file = syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file >= 0) {
        syscall(SYS_write, file, name, size_of_note);
        syscall(SYS_close, file);
    }
    errno = number;
    return !strcmp(how, "half") ? HALF : !strcmp(how, "short") ? SHORT : WHOLE;
}

static enum how ordered_of(const char *call, int descriptor) {
    char link[64], path[4096];
    if (descriptor < 3) return PASSED; /* what is printed */
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long size = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    errno = before;
    if (size < 0) return PASSED;
    path[size] = 0;
    return ordered(call, path);
}

ssize_t write(int descriptor, const void *bytes, size_t count) {
    enum how how = ordered_of("write", descriptor);
    if (how == WHOLE) return -1;
    if (how == PASSED) return syscall(SYS_write, descriptor, bytes, count);
    int number = errno;
    ssize_t written = syscall(SYS_write, descriptor, bytes, count / 2);
    if (how == SHORT && written > 0) return written;
    errno = number;
    return -1;
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    if (ordered_of("write", descriptor)) return -1;
    return syscall(SYS_writev, descriptor, parts, count);
}

int fsync(int descriptor) {
    return ordered_of("fsync", descriptor) ? -1 : (int)syscall(SYS_fsync, descriptor);
}

int fdatasync(int descriptor) {
    return ordered_of("fsync", descriptor) ? -1 : (int)syscall(SYS_fdatasync, descriptor);
}

int rename(const char *from, const char *to) {
    return ordered("rename", to) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return ordered("rename", to) ? -1 : (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0);
}

int mkdir(const char *path, mode_t mode) {
    return ordered("mkdir", path) ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

#define ROOM(name, type)                                                             \
    int name(const char *path, struct type *room) {                                  \
        int code = REAL(name)(path, room);                                           \
        if (!code && control && under && !strncmp(path, under, strlen(under) - 1) && is_full()) \
            room->f_bavail = room->f_bfree = 0;                                      \
        return code;                                                                 \
    }

ROOM(statvfs, statvfs)
ROOM(statvfs64, statvfs64)

#define OPENS(name, ...)                                                  \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                \
        va_list rest;                                                     \
        va_start(rest, flags);                                            \
        mode_t mode = va_arg(rest, mode_t);                               \
        va_end(rest);                                                     \
        return ordered("create", path) ? -1 : REAL(name)(__VA_ARGS__, flags, mode); \
    }                                                                     \
    return REAL(name)(__VA_ARGS__, flags);

int open(const char *path, int flags, ...) { OPENS(open, path) }
int open64(const char *path, int flags, ...) { OPENS(open64, path) }
int openat(int folder, const char *path, int flags, ...) { OPENS(openat, folder, path) }
int openat64(int folder, const char *path, int flags, ...) { OPENS(openat64, folder, path) }
