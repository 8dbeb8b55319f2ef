/* SPDX-License-Identifier: Apache-2.0
 *
 * The first and, but for what it is told to run, only program of the guest. It makes a machine of
 * an initramfs (mounts, modules, one address), then serves two ports: on one it does what a
 * connection asks, one request after the other, on the other it hands bytes to and from the
 * driver's socket. It is no shell: what the load does to files are requests of their own, so that a
 * reply means that the system call had returned, and each costs no process.
 *
 * A request is a number of words, each with its length; the reply a status and bytes (numbers: 32
 * bits, little-endian). Status 0 is success; of a program it is its exit status, of the rest
 * -errno.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGENT_PORT 7000
#define DRIVER_PORT 7001
#define DRIVER_SOCKET "/run/csi.sock"
#define MAX_WORDS 64
#define MAX_WORD (8 << 20)

extern char **environ;

/* Words end with a zero, too, and the last one with a null pointer, as a program's do. */
struct request {
	unsigned n;
	char *words[MAX_WORDS + 1];
	uint32_t lengths[MAX_WORDS];
};

struct reply {
	int status;
	char *bytes;
	size_t n_bytes;
};

static void die(const char *what)
{
	fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
	sync();
	reboot(RB_POWER_OFF);
}

/* Decimal digits; whoever asks is the test, which writes them. */
static int64_t number(const char *word)
{
	int64_t n = 0;

	for (; *word; word++)
		n = n * 10 + (*word - '0');
	return n;
}

/* ---- what is asked */

static int sync_parent(const char *path)
{
	char *dir = strdup(path);
	int fd, r;

	*strrchr(dir, '/') = '\0';
	fd = open(*dir ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(dir);
	if (fd < 0)
		return -errno;
	r = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return r;
}

static int write_whole(int fd, const char *bytes, size_t n, off_t at)
{
	while (n > 0) {
		ssize_t done = pwrite(fd, bytes, n, at);

		if (done < 0)
			return -errno;
		bytes += done;
		at += done;
		n -= (size_t)done;
	}
	return 0;
}

/* write PATH OFFSET BYTES [sync]; the file is made if it is not there, and its directory synced. */
static int do_write(struct request *rq, struct reply *reply)
{
	bool is_new = access(rq->words[1], F_OK) < 0;
	int fd = open(rq->words[1], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	int r;

	(void)reply;
	if (fd < 0)
		return -errno;
	r = write_whole(fd, rq->words[3], rq->lengths[3], number(rq->words[2]));
	if (r == 0 && rq->n > 4 && fsync(fd) < 0)
		r = -errno;
	close(fd);
	return r == 0 && rq->n > 4 && is_new ? sync_parent(rq->words[1]) : r;
}

/* read PATH OFFSET LENGTH; fewer bytes at the file's end. */
static int do_read(struct request *rq, struct reply *reply)
{
	size_t n = (size_t)number(rq->words[3]);
	int fd = open(rq->words[1], O_RDONLY | O_CLOEXEC);
	ssize_t done = 0;

	if (fd < 0)
		return -errno;
	reply->bytes = malloc(n + 1);
	while (reply->n_bytes < n) {
		done = pread(fd, reply->bytes + reply->n_bytes, n - reply->n_bytes,
			     number(rq->words[2]) + (off_t)reply->n_bytes);
		if (done <= 0)
			break;
		reply->n_bytes += (size_t)done;
	}
	close(fd);
	return done < 0 ? -errno : 0;
}

/* replace PATH BYTES: by rename of a synced file, and synced itself. */
static int do_replace(struct request *rq, struct reply *reply)
{
	char *new = NULL;
	int fd, r;

	(void)reply;
	if (asprintf(&new, "%s.new", rq->words[1]) < 0)
		return -ENOMEM;
	fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	r = fd < 0 ? -errno : write_whole(fd, rq->words[2], rq->lengths[2], 0);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (fd >= 0)
		close(fd);
	if (r == 0 && rename(new, rq->words[1]) < 0)
		r = -errno;
	free(new);
	return r == 0 ? sync_parent(rq->words[1]) : r;
}

/* remove PATH, synced. */
static int do_remove(struct request *rq, struct reply *reply)
{
	(void)reply;
	if (unlink(rq->words[1]) < 0)
		return -errno;
	return sync_parent(rq->words[1]);
}

/* look PATH: "size blocks" of a file, "size 0" of a device, "size free" of the filesystem at a
 * directory; bytes. */
static int do_look(struct request *rq, struct reply *reply)
{
	struct statvfs fs;
	struct stat st;
	uint64_t size = 0, rest = 0;
	int fd, r;

	if (stat(rq->words[1], &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode)) {
		if (statvfs(rq->words[1], &fs) < 0)
			return -errno;
		size = fs.f_blocks * fs.f_frsize;
		rest = fs.f_bavail * fs.f_frsize;
	} else if (S_ISBLK(st.st_mode)) {
		fd = open(rq->words[1], O_RDONLY | O_CLOEXEC);
		r = fd < 0 || ioctl(fd, BLKGETSIZE64, &size) < 0 ? -errno : 0;
		if (fd >= 0)
			close(fd);
		if (r < 0)
			return r;
	} else {
		size = (uint64_t)st.st_size;
		rest = (uint64_t)st.st_blocks * 512;
	}
	r = asprintf(&reply->bytes, "%ju %ju", (uintmax_t)size, (uintmax_t)rest);
	reply->n_bytes = r < 0 ? 0 : (size_t)r;
	return 0;
}

/* mkdir PATH, with all above it. */
static int do_mkdir(struct request *rq, struct reply *reply)
{
	char *path = rq->words[1];

	(void)reply;
	for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int spawn(char **words, int out, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_adddup2(&actions, out, 2);
	r = posix_spawnp(pid, words[0], &actions, NULL, words, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

/* run PROGRAM ARG...: its exit status (128 and the signal) and what it wrote. */
static int do_run(struct request *rq, struct reply *reply)
{
	int pipes[2], status = 0, r;
	ssize_t n;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return -errno;
	r = spawn(rq->words + 1, pipes[1], &pid);
	close(pipes[1]);
	reply->bytes = malloc(MAX_WORD);
	while (r == 0 && reply->n_bytes < MAX_WORD) {
		n = read(pipes[0], reply->bytes + reply->n_bytes, MAX_WORD - reply->n_bytes);
		if (n <= 0)
			break;
		reply->n_bytes += (size_t)n;
	}
	close(pipes[0]);
	if (r == 0)
		waitpid(pid, &status, 0);
	return r < 0 ? r : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* start LOG PROGRAM ARG...: its pid. What it writes goes to LOG. */
static int do_start(struct request *rq, struct reply *reply)
{
	int log = open(rq->words[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	pid_t pid = 0;
	int r;

	if (log < 0)
		return -errno;
	r = spawn(rq->words + 2, log, &pid);
	close(log);
	reply->n_bytes = (size_t)asprintf(&reply->bytes, "%d", pid);
	return r;
}

/* kill PID SIGNAL of what was started, and wait until it has ended; SIGNAL 0: whether it has
 * (-EAGAIN: no). */
static int do_kill(struct request *rq, struct reply *reply)
{
	int pid = (int)number(rq->words[1]), sign = (int)number(rq->words[2]), status = 0;
	pid_t done;

	(void)reply;
	if (sign && kill(pid, sign) < 0)
		return -errno;
	done = waitpid(pid, &status, sign ? 0 : WNOHANG);
	if (done == 0)
		return -EAGAIN;
	return done < 0 ? -errno : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static const struct op {
	const char *name;
	unsigned n_words;
	int (*run)(struct request *rq, struct reply *reply);
} ops[] = {
	{ "write", 4, do_write },   { "read", 4, do_read },   { "replace", 3, do_replace },
	{ "remove", 2, do_remove }, { "look", 2, do_look },   { "mkdir", 2, do_mkdir },
	{ "run", 2, do_run },       { "start", 3, do_start }, { "kill", 3, do_kill },
};

static int answer(struct request *rq, struct reply *reply)
{
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (rq->n >= ops[i].n_words && strcmp(rq->words[0], ops[i].name) == 0)
			return ops[i].run(rq, reply);
	return -ENOSYS;
}

/* ---- connections */

static bool get(int fd, void *bytes, size_t n)
{
	return n == 0 || recv(fd, bytes, n, MSG_WAITALL) == (ssize_t)n;
}

static bool put(int fd, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t done = send(fd, bytes, n, MSG_NOSIGNAL);

		if (done <= 0)
			return false;
		bytes += done;
		n -= (size_t)done;
	}
	return true;
}

static bool read_request(int fd, struct request *rq)
{
	uint32_t n;

	if (!get(fd, &n, sizeof(n)) || n < 1 || n > MAX_WORDS)
		return false;
	for (rq->n = 0; rq->n < n; rq->n++) {
		uint32_t *length = &rq->lengths[rq->n];

		if (!get(fd, length, sizeof(*length)) || *length > MAX_WORD)
			return false;
		rq->words[rq->n] = calloc(1, *length + 1);
		if (!get(fd, rq->words[rq->n], *length))
			return false;
	}
	return true;
}

static void *serve_requests(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct request rq = { 0 };

	while (read_request(fd, &rq)) {
		struct reply reply = { 0 };
		uint32_t head[2];
		bool is_sent;

		reply.status = answer(&rq, &reply);
		head[0] = (uint32_t)reply.status;
		head[1] = (uint32_t)reply.n_bytes;
		is_sent =
			put(fd, (char *)head, sizeof(head)) && put(fd, reply.bytes, reply.n_bytes);
		free(reply.bytes);
		for (unsigned i = 0; i < rq.n; i++)
			free(rq.words[i]);
		rq = (struct request){ 0 };
		if (!is_sent)
			break;
	}
	close(fd);
	return NULL;
}

/* Bytes both ways until either side ends. */
static void *serve_driver(void *arg)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = DRIVER_SOCKET };
	struct pollfd fds[2] = { { .fd = (int)(intptr_t)arg, .events = POLLIN } };
	char bytes[8192];

	fds[1].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[1].events = POLLIN;
	if (connect(fds[1].fd, (struct sockaddr *)&name, sizeof(name)) < 0)
		goto out;
	while (poll(fds, 2, -1) > 0)
		for (int i = 0; i < 2; i++) {
			ssize_t n = fds[i].revents ? recv(fds[i].fd, bytes, sizeof(bytes), 0) : 1;

			if (n <= 0 || (fds[i].revents && !put(fds[1 - i].fd, bytes, (size_t)n)))
				goto out;
		}
out:
	close(fds[0].fd);
	close(fds[1].fd);
	return NULL;
}

static int listen_at(int port)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 || listen(fd, 64) < 0)
		die("listen");
	return fd;
}

static void serve(void)
{
	struct pollfd fds[2] = { { .fd = listen_at(AGENT_PORT), .events = POLLIN },
				 { .fd = listen_at(DRIVER_PORT), .events = POLLIN } };
	void *(*const serves[2])(void *) = { serve_requests, serve_driver };
	pthread_t thread;

	while (poll(fds, 2, -1) > 0 || errno == EINTR)
		for (int i = 0; i < 2; i++) {
			int fd = fds[i].revents ? accept4(fds[i].fd, NULL, NULL, SOCK_CLOEXEC) : -1;

			if (fd >= 0 &&
			    pthread_create(&thread, NULL, serves[i], (void *)(intptr_t)fd) == 0)
				pthread_detach(thread);
		}
}

/* ---- a machine of an initramfs */

static void mount_all(void)
{
	static const char *const mounts[][2] = {
		{ "proc", "/proc" }, { "sysfs", "/sys" }, { "devtmpfs", "/dev" },
		{ "tmpfs", "/run" }, { "tmpfs", "/tmp" }, { "cgroup2", "/sys/fs/cgroup" }
	};

	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++)
		if (mount(mounts[i][0], mounts[i][1], mounts[i][0], 0, NULL) < 0 && errno != EBUSY)
			die(mounts[i][1]);
}

/* In the order of their names, which is one in which none needs a later one. */
static void load_modules(void)
{
	char path[64];

	for (int i = 0; i < 100; i++) {
		int fd;

		snprintf(path, sizeof(path), "/modules/%02d.ko", i);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			break;
		if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
			die(path);
		close(fd);
		unlink(path);
	}
}

static void set_address(int fd, const char *name, unsigned long request, const char *address)
{
	struct ifreq rq = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&rq.ifr_addr;

	snprintf(rq.ifr_name, sizeof(rq.ifr_name), "%s", name);
	if (address) {
		in->sin_family = AF_INET;
		inet_pton(AF_INET, address, &in->sin_addr);
	} else {
		rq.ifr_flags = IFF_UP | IFF_RUNNING;
	}
	if (ioctl(fd, request, &rq) < 0)
		die(name);
}

static void start_network(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	set_address(fd, "lo", SIOCSIFFLAGS, NULL);
	set_address(fd, "eth0", SIOCSIFADDR, "10.0.2.15");
	set_address(fd, "eth0", SIOCSIFNETMASK, "255.255.255.0");
	set_address(fd, "eth0", SIOCSIFFLAGS, NULL);
	close(fd);
}

int main(int argc, char **argv)
{
	char serve_word[] = "serve";
	char *const words[] = { argv[0], serve_word, NULL };
	pid_t pid;

	signal(SIGPIPE, SIG_IGN);
	if (argc > 1) {
		serve();
		return 1;
	}

	mount_all();
	load_modules();
	start_network();
	setenv("PATH", "/bin", 1);
	setenv("HOME", "/", 1);
	if (posix_spawn(&pid, "/init", NULL, NULL, words, environ) != 0)
		die("/init");
	/* Orphans end here; the other one waits for what it was told to run. */
	while (wait(NULL) != pid || errno == EINTR)
		;
	errno = ECHILD;
	die("serve");
	return 1;
}
