/* Preloaded into Orthanc 1.10.1 as Debian 12 has it. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <string.h>
#include <sys/socket.h>

/* It has no setting for the address that it listens on: here that is 127.0.0.1. */
int bind(int fd, const struct sockaddr *address, socklen_t length) {
    int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
    if (address->sa_family != AF_INET || length < sizeof(struct sockaddr_in))
        return next(fd, address, length);
    struct sockaddr_in local = *(const struct sockaddr_in *)address;
    local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return next(fd, (const struct sockaddr *)&local, sizeof local);
}

/* Its civetweb calls a function by the name that it had before OpenSSL 3, which is no address: a crash at the first
   connection over TLS. */
void *dlsym(void *library, const char *name) {
    void *(*next)(void *, const char *) = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    return next(library, strcmp(name, "SSL_get_peer_certificate") ? name : "SSL_get1_peer_certificate");
}
