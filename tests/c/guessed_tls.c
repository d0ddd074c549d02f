/* Drives a library that says of itself what OpenSSL says, and whose functions have its functions' shape
 * (`agent/src/probe/stripped/imitation.c`, compiled beside it; only `exchange` is to be exported): what goes through it reads like a call
 * of a model. It has no network beneath it.
 *
 * What calls are is set when it is compiled: METHODS, an object like OpenSSL's; RESULT, what its methods return;
 * MORE, how many bytes more they say to have moved than they were to. The other names each make one thing wrong.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef RESULT
#define RESULT 1
#endif
#ifndef MORE
#define MORE 0
#endif

/* What the search for a TLS library goes by. */
const char *const texts[] = {"OpenSSL 3.0.99 1 Jan 2026", "ssl/record/rec_layer_s3.c"};

typedef struct ssl SSL;
typedef struct {
#ifdef METHODS
    int version;
    unsigned flags;
    unsigned long excluded;
    int (*fresh)(SSL *);
    int (*clear)(SSL *);
#endif
    int (*read)(SSL *, void *, size_t, size_t *);
    int (*write)(SSL *, const void *, size_t, size_t *);
} METHOD;
struct ssl {
    int version;
    const METHOD *method;
    void *handshake;
    int shut;
    int references;
    void *extra[2];
};

int SSL_read(SSL *, void *, int);
int SSL_write(SSL *, const void *, int);
int SSL_write_ex(SSL *, const void *, size_t, size_t *);
void SSL_free(SSL *);

static const char answer[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 214\r\n\r\n"
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1767225600,\"model\":\"guessed-2026\","
    "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"three\"},"
    "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":2}}";
static const char body[] =
    "{\"model\":\"guessed\",\"messages\":[{\"role\":\"user\",\"content\":\"one two\"}]}";

static unsigned long calls, sum;

#ifdef METHODS
static int nothing(SSL *s) { return s != NULL; }
#endif

static int reads(SSL *s, void *to, size_t number, size_t *done)
{
    size_t length = sizeof answer - 1;
    (void)s;
    calls++;
    if (number < length)
        return 0;
    memcpy(to, answer, length);
    *done = length;
    return RESULT;
}

static int writes(SSL *s, const void *from, size_t number, size_t *done)
{
    (void)s;
    calls++;
#ifndef NO_LENGTH
    for (size_t n = 0; n < number; n++)
        sum = sum * 31 + ((const unsigned char *)from)[n];
#else
    sum = sum * 31 + (number > 4096) + (from == NULL);
#endif
    *done = number + MORE;
    return RESULT;
}

/* As OpenSSL's, which is a constant. */
static const METHOD method = {
#ifdef METHODS
    .version = 0x10000,
    .fresh = nothing,
    .clear = nothing,
#endif
    .read = reads,
    .write = writes,
};
static SSL connection = {.version = 0x303, .method = &method, .handshake = &connection};

/* A request and its answer; what came of it, as a number. */
unsigned long exchange(void)
{
    static char text[512], got[1024];
    size_t length = 0, done = 0;
    const char *const heads[] = {"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n",
        "Content-Type: application/json\r\nContent-Length: ", "\r\n\r\n", body};
    int read;
    for (int n = 0; n < 4; n++) {
        memcpy(text + length, heads[n], strlen(heads[n]));
        length += strlen(heads[n]);
        if (n == 1) {
            text[length++] = (char)('0' + (sizeof body - 1) / 10);
            text[length++] = (char)('0' + (sizeof body - 1) % 10);
        }
    }
    connection.references = 2;
#ifdef NO_LENGTH
    /* Another function's arguments: the third is an address. */
    SSL_write_ex(&connection, text, (size_t)(uintptr_t)got, &done);
    done = done != 0;
#else
    done = (size_t)SSL_write(&connection, text, (int)length);
#endif
    read = SSL_read(&connection, got, (int)sizeof got);
    SSL_free(&connection);
    return sum + calls * 7 + done * 3 + (unsigned long)read;
}
