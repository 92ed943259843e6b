//! The three requests to the kernel that have no safe form elsewhere.
#![allow(unsafe_code)]

use rustix::ioctl::{ioctl, IntegerSetter, NoArg, Opcode, Updater};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// linux/include/uapi/linux/loop.h
const LOOP_SET_FD: Opcode = 0x4c00;
const LOOP_CLR_FD: Opcode = 0x4c01;
/// linux/include/uapi/linux/tdx-guest.h: `_IOWR('T', 1, struct tdx_report_req)`
const TDX_CMD_GET_REPORT0: Opcode = 0xc440_5401;

#[repr(C)]
struct TdxReportRequest {
    report_data: [u8; 64],
    td_report: [u8; 1024],
}

/// Makes the loop device show the file; read-only, as both were opened.
pub fn attach(device: &File, file: &File) -> io::Result<()> {
    let number = file.as_raw_fd() as usize;
    // SAFETY: LOOP_SET_FD takes a file descriptor as its argument, and touches no memory of the caller.
    unsafe { ioctl(device, IntegerSetter::<LOOP_SET_FD>::new_usize(number)) }?;
    Ok(())
}

pub fn detach(device: &File) -> io::Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    unsafe { ioctl(device, NoArg::<LOOP_CLR_FD>::new()) }?;
    Ok(())
}

pub fn td_report(device: &File, report_data: &[u8; 64]) -> io::Result<[u8; 1024]> {
    let mut request = TdxReportRequest {
        report_data: *report_data,
        td_report: [0; 1024],
    };
    // SAFETY: the kernel reads and writes exactly the structure, whose size is part of the number.
    unsafe {
        ioctl(
            device,
            Updater::<TDX_CMD_GET_REPORT0, TdxReportRequest>::new(&mut request),
        )
    }?;
    Ok(request.td_report)
}
