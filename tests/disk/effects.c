/* Stands between a program and its disk (LD_PRELOAD): every effect on the files under one folder is
 * written to a journal in the order in which it happened, and one of them can be made to fail.
 *
 *   EFFECTS_ROOT     the folder
 *   EFFECTS_JOURNAL  records are added to this file
 *   EFFECTS_CONTROL  shared: armed, left, error, failed (int32 each), then a path of 1,024 octets
 *
 * While armed, each effect takes one off `left`; the one that finds 0 fails with `error`, once (armed
 * is 2: and so do all that follow, as on a file system that turned read-only), and `failed` is set to
 * its kind and the path to its file's. Every effect and its record are made under one lock over all threads
 * and processes, so that the journal's order is the disk's. What is written through a memory map is
 * not seen: those files hold nothing that must outlive a process.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, MKDIR, OPEN, LINK };

struct control { int32_t armed, left, error, failed; char path[1024]; };
struct record {
    uint32_t kind, path, other, data;
    uint64_t inode, offset;
};

static struct control *control;
static char root[PATH_MAX];
static size_t root_length;
static char journal_path[PATH_MAX];
static int journal = -1;
static pid_t owner;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *value = getenv("EFFECTS_ROOT");
    if (!value) return;
    snprintf(root, sizeof root, "%s", value);
    root_length = strlen(root);
    value = getenv("EFFECTS_JOURNAL");
    if (value) snprintf(journal_path, sizeof journal_path, "%s", value);
    value = getenv("EFFECTS_CONTROL");
    if (value) {
        int file = syscall(SYS_openat, AT_FDCWD, value, O_RDWR | O_CLOEXEC, 0);
        void *map = mmap(0, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (map != MAP_FAILED) control = map;
        syscall(SYS_close, file);
    }
}

static int watched(const char *path) {
    size_t length = strlen(path);
    if (!root_length || strncmp(path, root, root_length)) return 0;
    if (path[root_length] && path[root_length] != '/') return 0;
    return !(length > 4 && !strcmp(path + length - 4, "-shm"));
}

static int path_of(int file, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = root_length ? readlink(link, path, PATH_MAX - 1) : -1;
    if (length < 0) return 0;
    path[length] = 0;
    return watched(path);
}

static void lock(int kind) {
    struct flock whole = { .l_type = kind, .l_whence = SEEK_SET };
    if (kind == F_WRLCK) {
        pthread_mutex_lock(&mutex);
        if (journal_path[0] && owner != getpid()) {
            /* A lock is its process's: a child opens the journal anew. */
            journal = syscall(SYS_openat, AT_FDCWD, journal_path,
                              O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
            owner = getpid();
        }
        if (journal >= 0) while (syscall(SYS_fcntl, journal, F_SETLKW, &whole) && errno == EINTR);
        return;
    }
    int before = errno;
    if (journal >= 0) syscall(SYS_fcntl, journal, F_SETLK, &whole);
    pthread_mutex_unlock(&mutex);
    errno = before;
}

static int fails(int kind, const char *path) {
    if (!control || !control->armed) return 0;
    if (control->left-- > 0) return 0;
    if (control->armed == 1) control->armed = 0;
    else control->left = 0;
    snprintf(control->path, sizeof control->path, "%s", path);
    control->failed = kind;
    errno = control->error;
    return 1;
}

static void tell(int kind, uint64_t inode, const char *path, const char *other, uint64_t offset,
                 const void *data, size_t octets) {
    if (journal < 0) return;
    int before = errno;
    struct record record = { kind, strlen(path), strlen(other), octets, inode, offset };
    struct iovec parts[4] = {
        { &record, sizeof record }, { (void *)path, record.path },
        { (void *)other, record.other }, { (void *)data, octets },
    };
    if (syscall(SYS_writev, journal, parts, 4) < 0) abort();
    errno = before;
}

static uint64_t inode_of(int file) {
    struct stat about;
    return fstat(file, &about) ? 0 : about.st_ino;
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
    if ((folder != AT_FDCWD && path[0] != '/') || !watched(path))
        return syscall(SYS_openat, folder, path, flags, mode);
    lock(F_WRLCK);
    int file = -1;
    int reads = (flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT);
    if ((reads && control && control->armed == 2) || !fails(OPEN, path)) {
        int new = (flags & O_CREAT) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK, 0);
        file = syscall(SYS_openat, folder, path, flags, mode);
        if (file >= 0 && new) tell(CREATE, inode_of(file), path, "", 0, 0, 0);
        else if (file >= 0 && (flags & O_TRUNC)) tell(TRUNCATE, inode_of(file), path, "", 0, 0, 0);
    }
    lock(F_UNLCK);
    return file;
}

#define MODE mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { \
        va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) {
    MODE return opened(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE return opened(folder, path, flags, mode);
}

/* `at` < 0: where the file stands. */
static ssize_t written(int file, const void *data, size_t octets, off_t at) {
    char path[PATH_MAX];
    if (!path_of(file, path))
        return at < 0 ? syscall(SYS_write, file, data, octets)
                      : syscall(SYS_pwrite64, file, data, octets, at);
    lock(F_WRLCK);
    ssize_t done = -1;
    if (!fails(WRITE, path)) {
        int adds = syscall(SYS_fcntl, file, F_GETFL) & O_APPEND;
        off_t where = at >= 0 ? at : lseek(file, 0, adds ? SEEK_END : SEEK_CUR);
        done = at < 0 ? syscall(SYS_write, file, data, octets)
                      : syscall(SYS_pwrite64, file, data, octets, at);
        if (done >= 0) tell(WRITE, inode_of(file), path, "", where, data, done);
    }
    lock(F_UNLCK);
    return done;
}

ssize_t write(int file, const void *data, size_t octets) {
    return written(file, data, octets, -1);
}
ssize_t pwrite(int file, const void *data, size_t octets, off_t at) {
    return written(file, data, octets, at);
}
ssize_t pwrite64(int file, const void *data, size_t octets, off_t at) {
    return written(file, data, octets, at);
}

static int synced(int file, int number) {
    char path[PATH_MAX];
    if (!path_of(file, path)) return syscall(number, file);
    lock(F_WRLCK);
    int done = -1;
    if (!fails(SYNC, path)) {
        done = syscall(number, file);
        if (!done) tell(SYNC, inode_of(file), path, "", 0, 0, 0);
    }
    lock(F_UNLCK);
    return done;
}
int fsync(int file) { return synced(file, SYS_fsync); }
int fdatasync(int file) { return synced(file, SYS_fdatasync); }

static int truncated(int file, off_t length) {
    char path[PATH_MAX];
    if (!path_of(file, path)) return syscall(SYS_ftruncate, file, length);
    lock(F_WRLCK);
    int done = -1;
    if (!fails(TRUNCATE, path)) {
        done = syscall(SYS_ftruncate, file, length);
        if (!done) tell(TRUNCATE, inode_of(file), path, "", length, 0, 0);
    }
    lock(F_UNLCK);
    return done;
}
int ftruncate(int file, off_t length) { return truncated(file, length); }
int ftruncate64(int file, off_t length) { return truncated(file, length); }

int rename(const char *from, const char *to) {
    if (!watched(from) && !watched(to)) return syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    lock(F_WRLCK);
    int done = -1;
    if (!fails(RENAME, from)) {
        done = syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
        if (!done) tell(RENAME, 0, from, to, 0, 0, 0);
    }
    lock(F_UNLCK);
    return done;
}

int link(const char *from, const char *to) {
    if (!watched(from) && !watched(to)) return syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
    lock(F_WRLCK);
    int done = -1;
    if (!fails(LINK, from)) {
        done = syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
        if (!done) tell(LINK, 0, from, to, 0, 0, 0);
    }
    lock(F_UNLCK);
    return done;
}

int unlink(const char *path) {
    if (!watched(path)) return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    lock(F_WRLCK);
    int done = -1;
    if (!fails(UNLINK, path)) {
        done = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
        if (!done) tell(UNLINK, 0, path, "", 0, 0, 0);
    }
    lock(F_UNLCK);
    return done;
}

int mkdir(const char *path, mode_t mode) {
    if (!watched(path)) return syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    lock(F_WRLCK);
    int done = -1;
    if (!fails(MKDIR, path)) {
        struct stat about;
        done = syscall(SYS_mkdirat, AT_FDCWD, path, mode);
        if (!done) tell(MKDIR, stat(path, &about) ? 0 : about.st_ino, path, "", 0, 0, 0);
    }
    lock(F_UNLCK);
    return done;
}
