/* Functions of a C library that leave the system call to another function, as musl's and newer
 * glibcs' do: loaded before the real library, they are what a program calls. */

#define _GNU_SOURCE
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define CALL __attribute__((noinline, visibility("default")))

CALL ssize_t read(int fd, void *buffer, size_t size) { return syscall(SYS_read, fd, buffer, size); }

CALL ssize_t write(int fd, const void *buffer, size_t size)
{
	return syscall(SYS_write, fd, buffer, size);
}

CALL ssize_t recvfrom(int fd, void *buffer, size_t size, int flags, struct sockaddr *restrict from,
		      socklen_t *restrict len)
{
	return syscall(SYS_recvfrom, fd, buffer, size, flags, from, len);
}

CALL ssize_t sendto(int fd, const void *buffer, size_t size, int flags, const struct sockaddr *to,
		    socklen_t len)
{
	return syscall(SYS_sendto, fd, buffer, size, flags, to, len);
}

CALL ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
	return recvfrom(fd, buffer, size, flags, 0, 0);
}

CALL ssize_t send(int fd, const void *buffer, size_t size, int flags)
{
	return sendto(fd, buffer, size, flags, 0, 0);
}

CALL ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	return syscall(SYS_recvmsg, fd, message, flags);
}

CALL ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	return syscall(SYS_sendmsg, fd, message, flags);
}

CALL ssize_t readv(int fd, const struct iovec *vector, int count)
{
	return syscall(SYS_readv, fd, vector, count);
}

CALL ssize_t writev(int fd, const struct iovec *vector, int count)
{
	return syscall(SYS_writev, fd, vector, count);
}

CALL int close(int fd) { return syscall(SYS_close, fd); }
