/* What OpenSSL's ssl/ssl_lib.c looks like to the search for its functions, for its tests: the same
 * functions with the same errors, and little else.
 *
 * NUMBERED: errors as OpenSSL 1.1.1 raises them. FLAGS: a write has flags, as since 3.3.
 * BUILT_IN: the internal functions are built into their callers, as with -O3. PROGRAM: has a `main`.
 * METHODS: the table of methods is one of OpenSSL's, as far as calls are judged by it.
 * The other names each make one thing wrong.
 */
#include <stddef.h>

#define APART __attribute__((noinline, noclone))
#ifdef BUILT_IN
#define INTERNAL __attribute__((always_inline)) inline
#else
#define INTERNAL APART
#endif
#ifdef UNLIKELY
#define RARE __attribute__((cold)) APART
#else
#define RARE APART
#endif
#define SOURCE "../ssl/ssl_lib.c"

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

volatile int sink;
RARE void error_new(void) { sink++; }
RARE void error_debug(const char *file, int line, const char *function)
{
    sink += file[0] + line + function[0];
}
RARE void error_set(int library, int reason, const char *format, ...)
{
    sink += library + reason + (format != NULL);
}
RARE void error_put(int library, int function, int reason, const char *file, int line)
{
    sink += library + function + reason + file[0] + line;
}
RARE void extra_free(int class, void *object, void *extra)
{
    sink += class + (object == extra);
}
RARE void memory_free(void *memory, const char *file, int line)
{
    sink += (memory != NULL) + file[0] + line;
}

#ifdef NUMBERED
#define RAISE(name, number, reason) error_put(20, number, reason, SOURCE, __LINE__)
#else
#define RAISE(name, number, reason) \
    (error_new(), error_debug(SOURCE, __LINE__, name), error_set(20, reason, NULL))
#endif

#ifdef OTHER_REASON
#define UNINITIALIZED 277
#else
#define UNINITIALIZED 276
#endif

#ifdef ASKS_FIRST
/* Is handed what all functions have, and saves a register first. */
APART int asked(SSL *s, const void *buffer)
{
    int before = sink;
    error_new();
    return before + s->version + (buffer != NULL);
}
#define ASK(s, buffer) \
    if (asked(s, buffer) == 12345) \
    return 0
#else
#define ASK(s, buffer)
#endif

#ifdef MANY_NAMES
/* The name of the source file, again and again. */
#define FOUR "ssl/ssl_lib.c\0ssl/ssl_lib.c\0ssl/ssl_lib.c\0ssl/ssl_lib.c\0"
#define SIXTEEN FOUR FOUR FOUR FOUR
const char names[] = SIXTEEN SIXTEEN SIXTEEN SIXTEEN;
#endif

INTERNAL int read_internal(SSL *s, void *buffer, size_t number, size_t *done)
{
    if (s->handshake == NULL) {
        RAISE("ssl_read_internal", 523, UNINITIALIZED);
        return -1;
    }
    if (s->shut & 2)
        return 0;
    return s->method->read(s, buffer, number, done);
}

int SSL_read(SSL *s, void *buffer, int number)
{
    size_t done;
    ASK(s, buffer);
    if (number < 0) {
        RAISE("SSL_read", 223, 271);
        return -1;
    }
#ifdef SWAPPED
    int ret = read_internal((SSL *)buffer, s, (size_t)number, &done);
#else
    int ret = read_internal(s, buffer, (size_t)number, &done);
#endif
    return ret > 0 ? (int)done : ret;
}

int SSL_read_ex(SSL *s, void *buffer, size_t number, size_t *done)
{
    ASK(s, buffer);
    int ret = read_internal(s, buffer, number, done);
    return ret < 0 ? 0 : ret;
}

#ifdef TWICE
int other_read(SSL *s, void *buffer, int number)
{
    size_t done;
    if (number < 0) {
        RAISE("SSL_read", 223, 271);
        return -2;
    }
    return read_internal(s, buffer, (size_t)number + 1, &done);
}
#endif

#ifdef FLAGS
#define FLAGGED , unsigned long flags
#define NO_FLAGS , 0
#else
#define FLAGGED
#define NO_FLAGS
#endif

INTERNAL int write_internal(SSL *s, const void *buffer, size_t number FLAGGED, size_t *done)
{
    if (s->handshake == NULL) {
        RAISE("ssl_write_internal", 524, UNINITIALIZED);
        return -1;
    }
#ifdef FLAGS
    if (flags != 0)
        return -1;
#endif
    if (s->shut & 1) {
        RAISE("ssl_write_internal", 524, 207);
        return -1;
    }
    return s->method->write(s, buffer, number, done);
}

int SSL_write(SSL *s, const void *buffer, int number)
{
    size_t done;
    ASK(s, buffer);
    if (number < 0) {
        RAISE("SSL_write", 208, 271);
        return -1;
    }
    int ret = write_internal(s, buffer, (size_t)number NO_FLAGS, &done);
    return ret > 0 ? (int)done : ret;
}

int SSL_write_ex(SSL *s, const void *buffer, size_t number, size_t *done)
{
    ASK(s, buffer);
    int ret = write_internal(s, buffer, number NO_FLAGS, done);
    return ret < 0 ? 0 : ret;
}

#ifdef OTHER_CLASS
#define CLASS 2
#else
#define CLASS 0
#endif

void SSL_free(SSL *s)
{
    if (s == NULL)
        return;
    if (__atomic_fetch_sub(&s->references, 1, __ATOMIC_RELAXED) - 1 > 0)
        return;
    extra_free(CLASS, s, &s->extra);
    memory_free(s->handshake, SOURCE, __LINE__);
    memory_free(s, SOURCE, __LINE__);
}

/* Counts down, too, and has a class of its own. */
void SSL_CTX_free(SSL *s)
{
    if (s == NULL || __atomic_fetch_sub(&s->references, 1, __ATOMIC_RELAXED) - 1 > 0)
        return;
    extra_free(1, s, &s->extra);
    memory_free(s, SOURCE, __LINE__);
}

#ifdef PROGRAM
int main(void) { return 0; }
#endif
