// Preloaded into a wxlogin under test (LD_PRELOAD). For the files under SHIM_DIR it lets calls fail or
// hang, and keeps a journal from which a test can work out what a power cut would leave behind.
//
// SHIM_CONTROL  a file with one line "KIND FAULT SKIP COUNT": after SKIP more calls of that kind the
//               next COUNT have the fault. Without the file there is none. KIND is open, write, sync,
//               truncate, read, unlink, lock, chmod, checkpoint (a write to a file *.sqlite), resolve
//               (getaddrinfo), or move: the name localhost is at 127.0.0.2.
//               FAULT is a name in `errors`, hang, or slow: some milliseconds late.
//               Each call with a fault adds a byte to SHIM_CONTROL.hits.
// SHIM_CLOCK    a file: while it is there, the wall clock is ten years ahead.
// SHIM_JOURNAL  the journal: records as in power_cut.rs, appended in the order of the calls. The test
//               appends records of its own to the same file.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum op { CREATE = 'c', WRITE = 'w', TRUNCATE = 't', SYNC = 's', SYNC_FAILED = 'f',
          SYNC_DIR = 'd', UNLINK = 'u', RENAME = 'r', MKDIR = 'm' };

struct __attribute__((packed)) header {
    uint8_t op;
    uint64_t inode, offset;
    uint32_t length, length2; // of the two byte strings that follow
};

static const char *dir, *control, *wrong_clock;
static char hits_path[4096];
static int journal = -1;

static int raw_open(const char *path, int flags, mode_t mode) {
    return syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, mode);
}

__attribute__((constructor)) static void begin(void) {
    dir = getenv("SHIM_DIR");
    control = getenv("SHIM_CONTROL");
    wrong_clock = getenv("SHIM_CLOCK");
    if (control) snprintf(hits_path, sizeof hits_path, "%s.hits", control);
    const char *path = getenv("SHIM_JOURNAL");
    if (path) journal = raw_open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
}

// Whether an absolute path is dir or in it.
static int is_inside(const char *path) {
    size_t length = dir ? strlen(dir) : 0;
    return dir && !strncmp(path, dir, length) && (path[length] == '/' || !path[length]);
}

static int link_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

static int is_ours(int fd) {
    char path[4096];
    return dir && link_of(fd, path, sizeof path) && is_inside(path);
}

static int is_ours_at(int at, const char *name, char *path, size_t size) {
    if (!dir || !name) return 0;
    char base[4096] = "";
    if (name[0] == '/') {
        snprintf(path, size, "%s", name);
    } else {
        if (at == AT_FDCWD ? !getcwd(base, sizeof base) : !link_of(at, base, sizeof base)) return 0;
        snprintf(path, size, "%s/%s", base, name);
    }
    return is_inside(path);
}

static int read_control(char *line, size_t size) {
    int fd = control ? raw_open(control, O_RDONLY, 0) : -1;
    if (fd < 0) return 0;
    ssize_t length = syscall(SYS_read, fd, line, size - 1);
    syscall(SYS_close, fd);
    if (length <= 0) return 0;
    line[length] = 0;
    return 1;
}

static const struct {
    const char *name;
    int number;
} errors[] = {{"ENOSPC", ENOSPC}, {"EACCES", EACCES}, {"EPERM", EPERM},
              {"EROFS", EROFS},   {"ENOLCK", ENOLCK}, {"EIO", EIO}};

// The errno that a call of this kind has to fail with, or 0; returns late if it has to hang.
static int fault(const char *kind) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char counted[128];
    static int calls;
    char line[128], of[16], what[16];
    int skip, count;
    if (!read_control(line, sizeof line)) return 0;
    if (sscanf(line, "%15s %15s %d %d", of, what, &skip, &count) != 4 || strcmp(of, kind)) return 0;
    pthread_mutex_lock(&lock);
    if (strcmp(counted, line)) {
        strcpy(counted, line);
        calls = 0;
    }
    int number = calls++;
    pthread_mutex_unlock(&lock);
    if (number < skip || number - skip >= count) return 0;
    if (!strcmp(what, "slow")) {
        usleep(3000);
        return 0;
    }
    int hits = raw_open(hits_path, O_WRONLY | O_APPEND | O_CREAT, 0600);
    syscall(SYS_write, hits, "x", 1);
    syscall(SYS_close, hits);
    if (!strcmp(what, "hang")) {
        char now[128];
        while (read_control(now, sizeof now) && !strcmp(now, line)) usleep(2000);
        return 0;
    }
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (!strcmp(what, errors[i].name)) return errors[i].number;
    abort();
}

#define FAIL_IF(kind)                                                                                  \
    do {                                                                                               \
        int error = fault(kind);                                                                       \
        if (error) {                                                                                   \
            errno = error;                                                                             \
            return -1;                                                                                 \
        }                                                                                              \
    } while (0)

static uint64_t inode_of(int fd) {
    struct stat stat;
    return fstat(fd, &stat) ? 0 : stat.st_ino;
}

// One write, so that a record is whole and in its place whoever appends at the same time.
static void record(enum op op, uint64_t inode, uint64_t offset, const void *bytes, size_t length,
                   const char *second) {
    if (journal < 0) return;
    struct header header = {op, inode, offset, length, second ? strlen(second) : 0};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)bytes, length},
                            {(void *)second, header.length2}};
    ssize_t whole = sizeof header + length + header.length2;
    if (syscall(SYS_writev, journal, parts, 3) != whole) abort();
}

static uint64_t journal_length(void) {
    struct stat stat;
    return journal < 0 || fstat(journal, &stat) ? 0 : stat.st_size;
}

static int open_at(int at, const char *name, int flags, mode_t mode) {
    char path[8192];
    if (!is_ours_at(at, name, path, sizeof path)) return syscall(SYS_openat, at, name, flags, mode);
    FAIL_IF("open");
    int is_new = (flags & O_CREAT) && faccessat(at, name, F_OK, 0);
    int fd = syscall(SYS_openat, at, name, flags, mode);
    if (fd >= 0 && is_new) record(CREATE, inode_of(fd), 0, path, strlen(path), NULL);
    if (fd >= 0 && (flags & O_TRUNC)) record(TRUNCATE, inode_of(fd), 0, NULL, 0, NULL);
    return fd;
}

#define OPEN(name, parameters, at)                                                                     \
    int name parameters {                                                                              \
        mode_t mode = 0;                                                                               \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                           \
            va_list rest;                                                                              \
            va_start(rest, flags);                                                                     \
            mode = va_arg(rest, mode_t);                                                               \
            va_end(rest);                                                                              \
        }                                                                                              \
        return open_at(at, path, flags, mode);                                                         \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD)
OPEN(openat, (int at, const char *path, int flags, ...), at)
OPEN(openat64, (int at, const char *path, int flags, ...), at)

// A full disk takes the first part of what is long.
static int write_fault(size_t *length) {
    int error = fault("write");
    if (error != ENOSPC || *length <= 512) return error;
    *length /= 2;
    return 0;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    if (is_ours(fd)) {
        errno = write_fault(&length);
        if (errno) return -1;
        int is_append = fcntl(fd, F_GETFL) & O_APPEND;
        record(WRITE, inode_of(fd), lseek(fd, 0, is_append ? SEEK_END : SEEK_CUR), bytes, length, NULL);
    }
    return syscall(SYS_write, fd, bytes, length);
}

static int is_database(int fd) {
    char path[4096];
    if (!link_of(fd, path, sizeof path)) return 0;
    char *end = strrchr(path, '.');
    return end && !strcmp(end, ".sqlite");
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    if (is_ours(fd)) {
        if (is_database(fd)) FAIL_IF("checkpoint");
        errno = write_fault(&length);
        if (errno) return -1;
        record(WRITE, inode_of(fd), offset, bytes, length, NULL);
    }
    return syscall(SYS_pwrite64, fd, bytes, length, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite64(fd, bytes, length, offset);
}

ssize_t read(int fd, void *bytes, size_t length) {
    if (is_ours(fd)) FAIL_IF("read");
    return syscall(SYS_read, fd, bytes, length);
}

ssize_t pread64(int fd, void *bytes, size_t length, off64_t offset) {
    if (is_ours(fd)) FAIL_IF("read");
    return syscall(SYS_pread64, fd, bytes, length, offset);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t offset) {
    return pread64(fd, bytes, length, offset);
}

static int sync_fd(int fd, long call) {
    if (!is_ours(fd)) return syscall(call, fd);
    struct stat stat;
    fstat(fd, &stat);
    enum op done = S_ISDIR(stat.st_mode) ? SYNC_DIR : SYNC;
    uint64_t begun = journal_length(); // what was written later may not be synced
    int error = fault("sync");
    int result = error ? -1 : syscall(call, fd);
    if (error) errno = error;
    int saved = errno;
    record(result ? SYNC_FAILED : done, stat.st_ino, begun, NULL, 0, NULL);
    errno = saved;
    return result;
}

int fsync(int fd) { return sync_fd(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_fd(fd, SYS_fdatasync); }

int ftruncate64(int fd, off64_t length) {
    if (is_ours(fd)) {
        FAIL_IF("truncate");
        record(TRUNCATE, inode_of(fd), length, NULL, 0, NULL);
    }
    return syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    if (is_ours(fd)) {
        FAIL_IF("truncate");
        struct stat stat;
        if (!mode && !fstat(fd, &stat) && stat.st_size < offset + length)
            record(TRUNCATE, stat.st_ino, offset + length, NULL, 0, NULL);
    }
    return syscall(SYS_fallocate, fd, mode, offset, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    return fallocate64(fd, mode, offset, length);
}

int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    return fallocate64(fd, 0, offset, length) ? errno : 0;
}

int posix_fallocate(int fd, off_t offset, off_t length) {
    return posix_fallocate64(fd, offset, length);
}

int unlink(const char *name) {
    char path[8192];
    int ours = is_ours_at(AT_FDCWD, name, path, sizeof path);
    if (ours) FAIL_IF("unlink");
    int result = syscall(SYS_unlinkat, AT_FDCWD, name, 0);
    if (ours && !result) record(UNLINK, 0, 0, path, strlen(path), NULL);
    return result;
}

int rename(const char *from, const char *to) {
    char path[8192], target[8192];
    int ours = is_ours_at(AT_FDCWD, from, path, sizeof path) &&
               is_ours_at(AT_FDCWD, to, target, sizeof target);
    if (ours) FAIL_IF("unlink");
    int result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (ours && !result) record(RENAME, 0, 0, path, strlen(path), target);
    return result;
}

int mkdir(const char *name, mode_t mode) {
    char path[8192];
    int ours = is_ours_at(AT_FDCWD, name, path, sizeof path);
    if (ours) FAIL_IF("open");
    int result = syscall(SYS_mkdirat, AT_FDCWD, name, mode);
    if (ours && !result) record(MKDIR, 0, 0, path, strlen(path), NULL);
    return result;
}

int flock(int fd, int operation) {
    if (is_ours(fd)) FAIL_IF("lock");
    return syscall(SYS_flock, fd, operation);
}

int chmod(const char *name, mode_t mode) {
    char path[8192];
    if (is_ours_at(AT_FDCWD, name, path, sizeof path)) FAIL_IF("chmod");
    return syscall(SYS_fchmodat, AT_FDCWD, name, mode);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME && wrong_clock && !access(wrong_clock, F_OK))
        time->tv_sec += 10 * 365 * 86400;
    return result;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **result) {
    static int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (!next) next = dlsym(RTLD_NEXT, "getaddrinfo");
    if (fault("resolve")) return EAI_AGAIN;
    if (node && !strcmp(node, "localhost") && fault("move")) node = "127.0.0.2";
    return next(node, service, hints, result);
}
