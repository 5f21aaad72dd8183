// SPDX-License-Identifier: Apache-2.0
//! A part of libforkd: the fork server of a snapshot, and children of it.

mod ffi;

use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::mem::zeroed;
use std::os::raw::c_char;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::FromRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr::null_mut;
use std::time::Duration;

/// What the library says: an errno and a sentence.
#[derive(Debug)]
pub struct Error {
    pub errno: i32,
    text: String,
}

impl fmt::Display for Error {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        to.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<&ffi::Error> for Error {
    fn from(error: &ffi::Error) -> Error {
        // SAFETY: the library ends its text with a NUL; one that was never set is all zeroes.
        let text = unsafe { CStr::from_ptr(error.text.as_ptr()) };
        Error {
            errno: -error.code,
            text: text.to_string_lossy().into_owned(),
        }
    }
}

/// Calls a function of the library, all of which have a place for an error last.
fn call(function: impl FnOnce(*mut ffi::Error) -> i32) -> Result<(), Error> {
    // SAFETY: it consists of integers.
    let mut error: ffi::Error = unsafe { zeroed() };
    match function(&mut error) {
        0 => Ok(()),
        _ => Err(Error::from(&error)),
    }
}

fn string(bytes: &[u8]) -> Result<CString, Error> {
    CString::new(bytes).map_err(|_| Error {
        errno: 22, // EINVAL
        text: format!("{}: a NUL in it", String::from_utf8_lossy(bytes)),
    })
}

fn path(path: &Path) -> Result<CString, Error> {
    string(path.as_os_str().as_bytes())
}

/// The fork server of a snapshot. It ends when this is dropped, and its children with it.
pub struct Server(*mut ffi::Server);

// SAFETY: handles are used by one thread at a time, any.
unsafe impl Send for Server {}

impl Server {
    /// Of a folder that `forkd snapshot` made of a guest with these disks, which it may write to.
    pub fn start(vmm: &Path, snapshot: &Path, disks: &[&Path]) -> Result<Server, Error> {
        let vmm = path(vmm)?;
        let memory = path(&snapshot.join("memory.bin"))?;
        let vmstate = path(&snapshot.join("vmstate"))?;
        let images = disks
            .iter()
            .map(|disk| path(disk))
            .collect::<Result<Vec<_>, _>>()?;
        let files = (0..disks.len())
            .map(|index| snapshot.join(format!("disk-{index}.layer")))
            .map(|file| {
                if file.exists() {
                    path(&file).map(Some)
                } else {
                    Ok(None)
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let layers: Vec<Option<*const c_char>> = files
            .iter()
            .map(|file| file.as_ref().map(|file| file.as_ptr()))
            .collect();
        let disks: Vec<ffi::Disk> = images
            .iter()
            .zip(&layers)
            // SAFETY: zeroes are the defaults.
            .map(|(image, layer)| ffi::Disk {
                path: image.as_ptr(),
                mode: ffi::DISK_PRIVATE,
                layer_paths: layer.as_ref().map_or(std::ptr::null(), |layer| layer),
                layer_count: layer.iter().len() as u32,
                ..unsafe { zeroed() }
            })
            .collect();
        let options = ffi::ServerOptions {
            vmm_path: vmm.as_ptr(),
            memory_path: memory.as_ptr(),
            vmstate_path: vmstate.as_ptr(),
            disks: disks.as_ptr(),
            disk_count: disks.len() as u32,
            // SAFETY: zeroes are the defaults.
            ..unsafe { zeroed() }
        };
        let mut server = null_mut();
        // SAFETY: what the options point to lives until the end of this function; the library copies it.
        call(|error| unsafe { ffi::forkd_server_start(&mut server, &options, error) })?;
        Ok(Server(server))
    }

    /// Returns at once: see `Child::wait`.
    pub fn fork(&mut self, hostname: &str) -> Result<Child, Error> {
        let hostname = string(hostname.as_bytes())?;
        let options = ffi::ChildOptions {
            hostname: hostname.as_ptr(),
            // SAFETY: zeroes are the defaults.
            ..unsafe { zeroed() }
        };
        let mut vm = null_mut();
        // SAFETY: as above.
        call(|error| unsafe { ffi::forkd_server_fork(self.0, &options, &mut vm, error) })?;
        Ok(Child(vm))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: the library made it, and nobody has it any more.
        unsafe { ffi::forkd_server_free(self.0) }
    }
}

/// A VM in a process of its own. It ends when this is dropped.
pub struct Child(*mut ffi::Vm);

// SAFETY: as for the server.
unsafe impl Send for Child {}

/// Of a child that is ready.
#[derive(Debug)]
pub struct Ready {
    pub pid: i32,
    /// From the fork until its guest had taken its new identity.
    pub after: Duration,
}

impl Child {
    /// Waits until its guest has taken its new identity.
    pub fn wait(&mut self, timeout: Duration) -> Result<Ready, Error> {
        // SAFETY: it consists of integers.
        let mut status: ffi::VmStatus = unsafe { zeroed() };
        let timeout = timeout.as_millis().min(i32::MAX as u128) as i32;
        // SAFETY: both live as long as the call.
        call(|error| unsafe { ffi::forkd_vm_wait(self.0, timeout, &mut status, error) })?;
        if status.phase != ffi::VM_READY {
            return Err(Error::from(&status.error));
        }
        Ok(Ready {
            pid: status.pid,
            after: Duration::from_micros(status.ready_us),
        })
    }

    /// Connects to what listens at a vsock port in the guest.
    pub fn connect(&mut self, port: u32) -> Result<UnixStream, Error> {
        let mut fd = -1;
        // SAFETY: it lives as long as the call.
        call(|error| unsafe { ffi::forkd_vm_connect(self.0, port, &mut fd, error) })?;
        // SAFETY: the descriptor is a connected stream socket, and ours.
        Ok(unsafe { UnixStream::from_raw_fd(fd) })
    }

    /// Asks the agent, a line of JSON each way.
    pub fn ask(&mut self, question: &str) -> io::Result<String> {
        use std::io::{Read, Write};
        // A guest is not to be trusted: an answer has two streams of 8 MiB at most.
        const MOST: u64 = 64 << 20;
        const AGENT_PORT: u32 = 8888;
        let mut agent = self
            .connect(AGENT_PORT)
            .map_err(|error| io::Error::new(io::ErrorKind::Other, error))?;
        writeln!(agent, "{question}")?;
        let mut answer = String::new();
        agent.take(MOST).read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: the library made it, and nobody has it any more.
        unsafe { ffi::forkd_vm_free(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::ffi;
    use std::mem::size_of;

    /// FORKD_SIZES are those that a C compiler finds.
    #[test]
    fn structs_are_as_large_as_those_of_c() {
        let sizes = [
            ("forkd_error", size_of::<ffi::Error>()),
            ("forkd_disk", size_of::<ffi::Disk>()),
            ("forkd_limits", size_of::<ffi::Limits>()),
            ("forkd_server_options", size_of::<ffi::ServerOptions>()),
            ("forkd_child_options", size_of::<ffi::ChildOptions>()),
            ("forkd_vm_status", size_of::<ffi::VmStatus>()),
        ];
        let ours = sizes
            .map(|(name, size)| format!("{name} {size}\n"))
            .concat();
        assert_eq!(
            ours,
            std::env::var("FORKD_SIZES").expect("FORKD_SIZES is set")
        );
    }
}
