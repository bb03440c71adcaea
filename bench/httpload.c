/*
 * httpload: load an HTTP sending API and print what it did, as one JSON line like smtpload's.
 *
 *   cc -O2 -pthread -o httpload httpload.c -lssl -lcrypto
 *   ./httpload -p 8025 -w KEY -f noreply@example.test -c 20 -n 5000 -s 2048
 *
 *   -h HOST  -p PORT     server (IPv4 address)
 *   -i                   HTTPS; certificates are not checked
 *   -w KEY               the bearer token
 *   -f FROM              the sender
 *   -d DOMAIN            recipients are rN.M@DOMAIN (default example.test)
 *   -c CONNS             concurrent connections, each kept (default 20)
 *   -n MESSAGES          messages in total (default 1000)
 *   -s BYTES             size of the JSON body (default 2048)
 *   -r RCPTS             recipients per message (default 1)
 *   -T SECONDS           a call that takes longer has failed (default 120)
 *
 * Each connection posts to /api/v1/email/send and waits for the answer before the next. Latency is
 * from the first byte of the request to the last of the answer. 200 and 202 are success.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_OCTETS = 1 << 16 };

struct conn {
    int fd;
    SSL *ssl;
    char in[ANSWER_OCTETS + 1];
    size_t in_len;
};

static const char *host = "127.0.0.1", *key = "", *from = "noreply@example.test", *domain = "example.test";
static int port = 8025, tls, conns = 20, total = 1000, size = 2048, rcpts = 1, limit = 120;
static atomic_int started, ok_n, failed_n;
static double *latency;
static char last_error[256];
static pthread_mutex_t error_lock = PTHREAD_MUTEX_INITIALIZER;
static SSL_CTX *context;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void failed(const char *why) {
    atomic_fetch_add(&failed_n, 1);
    pthread_mutex_lock(&error_lock);
    size_t n = 0;
    for (; *why && n < sizeof last_error - 1; why++) /* it stands in a JSON text */
        last_error[n++] = *why == '"' || *why == '\\' || (unsigned char)*why < ' ' ? ' ' : *why;
    last_error[n] = 0;
    pthread_mutex_unlock(&error_lock);
}

static int opened(struct conn *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval patience = {.tv_sec = limit};
    int one = 1;
    inet_pton(AF_INET, host, &to.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    c->in_len = 0;
    c->ssl = NULL;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0) return 0;
    if (!tls) return 1;
    c->ssl = SSL_new(context);
    SSL_set_fd(c->ssl, c->fd);
    return SSL_connect(c->ssl) == 1;
}

static void closed(struct conn *c) {
    if (c->ssl) SSL_free(c->ssl);
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->ssl = NULL;
}

static int sent(struct conn *c, const char *data, size_t left) {
    while (left) {
        long n = c->ssl ? SSL_write(c->ssl, data, left) : send(c->fd, data, left, MSG_NOSIGNAL);
        if (n <= 0) return 0;
        data += n;
        left -= n;
    }
    return 1;
}

/* One whole answer: its status, with `in` holding it, or 0. */
static int answered(struct conn *c) {
    c->in_len = 0;
    for (;;) {
        if (c->in_len == ANSWER_OCTETS) return 0;
        char *at = c->in + c->in_len;
        size_t room = ANSWER_OCTETS - c->in_len;
        long n = c->ssl ? SSL_read(c->ssl, at, room) : recv(c->fd, at, room, 0);
        if (n <= 0) return 0;
        c->in_len += n;
        c->in[c->in_len] = 0;
        char *end = strstr(c->in, "\r\n\r\n");
        char *octets = end ? strcasestr(c->in, "\r\ncontent-length:") : NULL;
        if (octets && octets < end && c->in_len >= (size_t)(end + 4 - c->in) + atoi(octets + 17))
            return atoi(c->in + 9);
    }
}

static size_t request(char *out, size_t room, int number) {
    char *body = malloc(size + 64 * rcpts + 1024);
    int n = sprintf(body, "{\"from\":\"%s\",\"subject\":\"load %d\",\"to\":[", from, number);
    for (int i = 0; i < rcpts; i++)
        n += sprintf(body + n, "%s\"r%d.%d@%s\"", i ? "," : "", number, i, domain);
    n += sprintf(body + n, "],\"text\":\"");
    while (n < size - 2) {
        memcpy(body + n, "The quick brown fox jumps over the lazy dog and over the hills.\\n", 65);
        n += 65;
    }
    n += sprintf(body + n, "\"}");
    size_t made = snprintf(out, room,
                           "POST /api/v1/email/send HTTP/1.1\r\nHost: relay.test\r\nAuthorization: Bearer %s\r\n"
                           "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                           key, n, body);
    free(body);
    return made;
}

static void *client(void *unused) {
    struct conn *c = calloc(1, sizeof *c);
    size_t room = size + 64 * rcpts + 2048;
    char *out = malloc(room);
    c->fd = -1;
    (void)unused;
    for (;;) {
        int number = atomic_fetch_add(&started, 1);
        if (number >= total) break;
        if (c->fd < 0 && !opened(c)) {
            failed("no connection");
            closed(c);
            continue;
        }
        size_t n = request(out, room, number);
        double began = now();
        int status = sent(c, out, n) ? answered(c) : 0;
        if (status == 200 || status == 202) {
            latency[atomic_fetch_add(&ok_n, 1)] = now() - began;
            continue;
        }
        failed(status ? strstr(c->in, "\r\n\r\n") + 4 : "the connection broke");
        if (!status) closed(c);
    }
    closed(c);
    free(out);
    free(c);
    return NULL;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double percentile(double part) {
    int n = ok_n;
    return n ? latency[(int)(part * (n - 1))] * 1000 : 0;
}

int main(int argc, char **argv) {
    int option;
    while ((option = getopt(argc, argv, "h:p:iw:f:d:c:n:s:r:T:")) != -1) {
        switch (option) {
        case 'h': host = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'i': tls = 1; break;
        case 'w': key = optarg; break;
        case 'f': from = optarg; break;
        case 'd': domain = optarg; break;
        case 'c': conns = atoi(optarg); break;
        case 'n': total = atoi(optarg); break;
        case 's': size = atoi(optarg); break;
        case 'r': rcpts = atoi(optarg); break;
        case 'T': limit = atoi(optarg); break;
        default: return 2;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    context = SSL_CTX_new(TLS_client_method());
    latency = calloc(total + 1, sizeof *latency);
    pthread_t *threads = calloc(conns, sizeof *threads);
    double began = now();
    for (int i = 0; i < conns; i++) pthread_create(&threads[i], NULL, client, NULL);
    for (int i = 0; i < conns; i++) pthread_join(threads[i], NULL);
    double took = now() - began;
    qsort(latency, ok_n, sizeof *latency, ascending);
    printf("{\"ok\":%d,\"failed\":%d,\"seconds\":%.3f,\"per_s\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,"
           "\"last_error\":\"%s\"}\n",
           ok_n, failed_n, took, ok_n / took, percentile(.5), percentile(.99), last_error);
    return 0;
}
