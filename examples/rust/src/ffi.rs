// SPDX-License-Identifier: Apache-2.0
//! What is used of forkd.h, word for word.

use std::os::raw::{c_char, c_int};

#[repr(C)]
pub struct Error {
    pub code: i32,
    pub reserved: u32,
    pub operation: [c_char; 48],
    pub object: [c_char; 192],
    pub text: [c_char; 768],
}

pub const DISK_PRIVATE: u32 = 0;

#[repr(C)]
pub struct Disk {
    pub path: *const c_char,
    pub layer_paths: *const *const c_char,
    pub layer_count: u32,
    pub mode: u32,
    pub reserved: [u64; 6],
}

#[repr(C)]
pub struct Limits {
    pub console_bytes: u64,
    pub disk_bytes: u64,
    pub disk_bytes_per_second: u64,
    pub disk_requests_per_second: u64,
    pub net_bytes_per_second: u64,
    pub vsock_buffer_bytes: u64,
    pub vsock_connections: u32,
    pub reserved32: u32,
    pub reserved: [u64; 8],
}

pub const VM_READY: u32 = 1;

#[repr(C)]
pub struct VmStatus {
    pub phase: u32,
    pub end: u32,
    pub pid: i32,
    pub host_full: u32,
    pub fork_us: u64,
    pub ready_us: u64,
    pub error: Error,
    pub start_time: u64,
    pub disk_full: u32,
    pub reserved32: u32,
    pub reserved: [u64; 8],
}

#[repr(C)]
pub struct ServerOptions {
    pub vmm_path: *const c_char,
    pub memory_path: *const c_char,
    pub vmstate_path: *const c_char,
    pub disk_count: u32,
    pub parked_count: u32,
    pub disks: *const Disk,
    pub scratch_dir: *const c_char,
    pub control_path: *const c_char,
    pub idle_timeout_ms: u32,
    pub flags: u32,
    pub working_set_path: *const c_char,
    pub reserved: [u64; 7],
}

#[repr(C)]
pub struct ChildOptions {
    pub hostname: *const c_char,
    pub vsock_path: *const c_char,
    pub console_path: *const c_char,
    pub tap_name: *const c_char,
    pub netns_path: *const c_char,
    pub control_path: *const c_char,
    pub flags: u32,
    pub ready_timeout_ms: u32,
    pub limits: Limits,
    pub cgroup_path: *const c_char,
    pub reserved: [u64; 7],
}

/// Only behind pointers.
#[repr(C)]
pub struct Server {
    private: [u8; 0],
}

/// Only behind pointers.
#[repr(C)]
pub struct Vm {
    private: [u8; 0],
}

extern "C" {
    pub fn forkd_server_start(
        out: *mut *mut Server,
        options: *const ServerOptions,
        err: *mut Error,
    ) -> c_int;
    pub fn forkd_server_free(server: *mut Server);
    pub fn forkd_server_fork(
        server: *mut Server,
        options: *const ChildOptions,
        out: *mut *mut Vm,
        err: *mut Error,
    ) -> c_int;
    pub fn forkd_vm_wait(
        vm: *mut Vm,
        timeout_ms: i32,
        out: *mut VmStatus,
        err: *mut Error,
    ) -> c_int;
    pub fn forkd_vm_connect(vm: *mut Vm, port: u32, out_fd: *mut c_int, err: *mut Error) -> c_int;
    pub fn forkd_vm_free(vm: *mut Vm);
}
