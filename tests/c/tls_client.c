/* A TLS client with OpenSSL linked into the executable: tls_client PORT
 *
 * Prints `ready`, then for each line of standard input makes one chat call on a connection of its
 * own to localhost and prints the status line of the answer.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char BODY[] =
    "{\"model\":\"static\",\"messages\":[{\"role\":\"user\",\"content\":\"one two\"}]}";

static int call(SSL_CTX *context, int port, char *answer, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        return -1;
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    SSL_set_tlsext_host_name(ssl, "localhost");
    if (SSL_connect(ssl) != 1)
        return -1;
    char request[1024];
    int length = snprintf(request, sizeof request,
                          "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                          "Content-Type: application/json\r\nContent-Length: %zu\r\n"
                          "Connection: close\r\n\r\n%s",
                          sizeof BODY - 1, BODY);
    if (SSL_write(ssl, request, length) != length)
        return -1;
    size_t total = 0;
    int got;
    while (total < size - 1 && (got = SSL_read(ssl, answer + total, (int)(size - 1 - total))) > 0)
        total += (size_t)got;
    answer[total] = 0;
    SSL_free(ssl);
    close(fd);
    return total > 0 ? 0 : -1;
}

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    char line[64];
    char answer[65536];
    fprintf(stderr, "%s\n", OpenSSL_version(OPENSSL_VERSION));
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (call(context, atoi(arguments[1]), answer, sizeof answer) != 0) {
            puts("failed");
        } else {
            answer[strcspn(answer, "\r\n")] = 0;
            puts(answer);
        }
        fflush(stdout);
    }
    SSL_CTX_free(context);
    return 0;
}
