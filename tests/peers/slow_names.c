/* A resolver whose name server does not answer: names under `answers.test` take a minute. Preload it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int (*Resolve)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    Resolve real = (Resolve)dlsym(RTLD_NEXT, "getaddrinfo");
    const char *asked = getenv("SLOW_NAMES_ASKED");

    if (name == NULL || strstr(name, "answers.test") == NULL)
        return real(name, service, hints, found);
    if (asked != NULL)
        close(open(asked, O_CREAT | O_WRONLY, 0600));
    sleep(60);
    return EAI_AGAIN;
}
