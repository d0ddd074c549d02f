//! Where the kernel keeps what is wanted of a socket: offsets that the agent reads from the
//! kernel's type information and patches into the programs before they are loaded.

/// Offsets of fields in kernel structures, in bytes: the global `LAYOUT`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketLayout {
    /// `task_struct.files`
    pub task_files: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `fdtable.fd`
    pub fdt_fd: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `file.private_data`: of a socket's file, its `struct socket`
    pub file_private: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `inode.i_ino`
    pub inode_ino: u32,
    /// `socket.type`
    pub socket_type: u32,
    /// `socket.sk`
    pub socket_sk: u32,
    /// `socket.file`
    pub socket_file: u32,
    /// `sock.sk_socket`
    pub sk_socket: u32,
    /// `sock.sk_max_ack_backlog`
    pub sk_max_ack_backlog: u32,
    /// `sock.sk_shutdown`
    pub sk_shutdown: u32,
    /// `sock_common.skc_family`; `sock_common` is the first member of `sock`
    pub skc_family: u32,
    /// `sock_common.skc_num`: our port, in the processor's byte order
    pub skc_num: u32,
    /// `sock_common.skc_dport`: the peer's port, in network order
    pub skc_dport: u32,
    /// `sock_common.skc_rcv_saddr`
    pub skc_rcv_saddr: u32,
    /// `sock_common.skc_daddr`
    pub skc_daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`; zero in a kernel without IPv6
    pub skc_v6_rcv_saddr: u32,
    /// `sock_common.skc_v6_daddr`; zero in a kernel without IPv6
    pub skc_v6_daddr: u32,
    /// `unix_sock.addr`
    pub unix_addr: u32,
    /// `unix_sock.peer`
    pub unix_peer: u32,
    /// In `pt_regs`: the number of the system call
    pub regs_number: u32,
    /// In `pt_regs`: the first four arguments of a system call, as they still are at its end
    pub regs_arguments: [u32; 4],
    /// Numbers of the system calls, see [`call`]; [`NO_CALL`] where there is none
    pub calls: [u32; call::COUNT],
}

/// No system call has this number.
pub const NO_CALL: u32 = u32::MAX;

/// Indices into [`SocketLayout::calls`].
pub mod call {
    /// `read`
    pub const READ: usize = 0;
    /// `write`
    pub const WRITE: usize = 1;
    /// `readv`
    pub const READV: usize = 2;
    /// `writev`
    pub const WRITEV: usize = 3;
    /// `recvfrom` (`recv` is one)
    pub const RECVFROM: usize = 4;
    /// `sendto` (`send` is one)
    pub const SENDTO: usize = 5;
    /// `recvmsg`
    pub const RECVMSG: usize = 6;
    /// `sendmsg`
    pub const SENDMSG: usize = 7;
    /// `sendfile`
    pub const SENDFILE: usize = 8;
    /// How many there are.
    pub const COUNT: usize = 9;
}

// SAFETY: integers only, `repr(C)`, no padding: its size is checked below.
#[cfg(feature = "user")]
unsafe impl aya::Pod for SocketLayout {}

const _: () = assert!(size_of::<SocketLayout>() == 4 * (23 + 4 + call::COUNT));
