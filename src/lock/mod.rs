//! One agent per state directory: the kernel's lock on the file `lock`.

pub mod disk;
