// A disk as a program sees it through its system calls, for tests: loaded before the system's library.
//
// DISK_FOLDER   the folder, an absolute path without links, whose files are meant (not those in folders below it).
// DISK_KEEPS    if set, a folder that holds what a power cut would leave for sure: of each file that was ever synced what
//               was in it then, under the number of its inode; and in `names` the names that a sync of the folder has made
//               durable. What is written and not synced, and names that are made and not synced, are not in it.
// DISK_LIES     if this file exists, a sync does nothing and says that all is well.
// DISK_FAILS    if this file exists, calls fail as it says: `write 5` or `sync 28`, with the number of the error.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

// Whether a file is the folder, or directly in it.
static int is_meant(int file) {
    const char *folder = getenv("DISK_FOLDER");
    char link[64], path[4096];
    if (!folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    size_t of_folder = strlen(folder);
    if (strncmp(path, folder, of_folder)) return 0;
    return !path[of_folder] || (path[of_folder] == '/' && !strchr(path + of_folder + 1, '/'));
}

// The error with which calls of this kind fail now; 0 if they do not.
static int failing(const char *kind) {
    const char *name = getenv("DISK_FAILS");
    char text[64] = "";
    if (!name) return 0;
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    size_t of_kind = strlen(kind);
    return length > 0 && !strncmp(text, kind, of_kind) ? atoi(text + of_kind) : 0;
}

static void must(int done) {
    if (!done) {
        perror("the disk of a test");
        abort();
    }
}

// What is in the file now is durable. Only what differs is copied: this may be cut short too, as any sync.
static void keep_bytes(int file, const char *keeps, const struct stat *now) {
    static char here[1 << 16], there[1 << 16];
    char path[4096];
    snprintf(path, sizeof path, "%s/%llu", keeps, (unsigned long long)now->st_ino);
    int kept = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(kept >= 0);
    // The program's own may be open for writing only.
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int from = open(path, O_RDONLY | O_CLOEXEC);
    must(from >= 0);
    must(!syscall(SYS_ftruncate, kept, now->st_size));
    for (off_t at = 0; at < now->st_size;) {
        ssize_t length = pread(from, here, sizeof here, at);
        must(length > 0);
        must(pread(kept, there, length, at) == length);
        if (memcmp(here, there, length)) must(syscall(SYS_pwrite64, kept, here, length, at) == length);
        at += length;
    }
    close(from);
    close(kept);
}

// The names in the folder are durable.
static void keep_names(int file, const char *keeps) {
    char path[4096], names[4096];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    snprintf(names, sizeof names, "%s/names.new", keeps);
    DIR *folder = opendir(path);
    FILE *list = fopen(names, "we");
    must(folder && list);
    for (struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_type == DT_REG) fprintf(list, "%llu %s\n", (unsigned long long)entry->d_ino, entry->d_name);
    closedir(folder);
    must(!fclose(list));
    snprintf(path, sizeof path, "%s/names", keeps);
    must(!rename(names, path));
}

static int synced(int file, long call) {
    if (!is_meant(file)) return syscall(call, file);
    int error = failing("sync");
    if (error) {
        errno = error;
        return -1;
    }
    const char *lies = getenv("DISK_LIES"), *keeps = getenv("DISK_KEEPS");
    if (lies && !access(lies, F_OK)) return 0;
    struct stat now;
    if (keeps && !fstat(file, &now)) {
        pthread_mutex_lock(&one_at_a_time);
        if (S_ISDIR(now.st_mode)) keep_names(file, keeps);
        else keep_bytes(file, keeps, &now);
        pthread_mutex_unlock(&one_at_a_time);
        // Nobody takes this machine's power away: its own disk need not wait.
        return 0;
    }
    return syscall(call, file);
}

int fsync(int file) { return synced(file, SYS_fsync); }
int fdatasync(int file) { return synced(file, SYS_fdatasync); }

static int cannot_write(int file) {
    int error = failing("write");
    if (!error || !is_meant(file)) return 0;
    errno = error;
    return 1;
}

ssize_t write(int file, const void *bytes, size_t length) {
    return cannot_write(file) ? -1 : syscall(SYS_write, file, bytes, length);
}
ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t at) {
    return cannot_write(file) ? -1 : syscall(SYS_pwrite64, file, bytes, length, at);
}
ssize_t pwrite(int file, const void *bytes, size_t length, off_t at) { return pwrite64(file, bytes, length, at); }
