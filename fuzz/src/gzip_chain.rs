//! Compressed log files through the production reader, against a second inflater (`miniz_oxide`, members and headers
//! taken apart here): any bytes; whole files; files that are damaged.

use crate::input::Input;
use crate::memory::peak;
use longshore::source::disk::{GzipFile, Inflated, LogFolders};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

/// So much of a file is inflated at most.
const MOST: usize = 256 << 10;

/// What the reader may hold: its buffer, the window, and names in the header (65 kB each in the inflater).
const MEMORY: usize = 400 << 10;

/// How a file ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ends {
    /// At its end.
    Whole,
    /// Where it is damaged.
    Damaged,
    /// Beyond what is looked at.
    Later,
}

thread_local! {
    static FILE: RefCell<LogFile> = RefCell::new(LogFile::new());
}

/// A place for the file that is read, removed at the end.
struct LogFile {
    folders: LogFolders,
    name: String,
}

impl LogFile {
    fn new() -> LogFile {
        // Memory, where there is such a place: a disk would be the bottleneck.
        let home = Some(PathBuf::from("/dev/shm")).filter(|home| home.is_dir());
        let root = home.unwrap_or_else(std::env::temp_dir).join("longshore-fuzz");
        fs::create_dir_all(&root).expect("a folder for the file");
        let thread = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "");
        LogFile {
            folders: LogFolders {
                disk: longshore::disk::kernel(),
                containers_dir: root.clone(),
                docker_roots: Vec::new(),
                root,
            },
            name: format!("{}-{thread}.gz", std::process::id()),
        }
    }

    fn path(&self) -> PathBuf {
        Path::new(&self.folders.root).join(&self.name)
    }

    /// An open file of these bytes. Its name is gone again, so that no killed run leaves it behind.
    fn open(&self, bytes: &[u8]) -> (GzipFile, Option<u32>) {
        fs::write(self.path(), bytes).expect("a file");
        let file = self.folders.open_gzip(&self.name).expect("it is there");
        let size = self.folders.gzip_size(&self.name).ok();
        fs::remove_file(self.path()).expect("it is there");
        (file, size)
    }
}

/// The first byte chooses the kind of input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte() % 3;
    let step = 1 + usize::from(input.short() & 4095);
    if kind == 0 {
        check(input.rest(), step);
        return;
    }
    let (mut file, mut text) = (Vec::new(), Vec::new());
    for _ in 0..1 + input.below(3) {
        let (level, times) = (input.byte() % 10, 1 + input.below(64));
        let piece = input.bytes().repeat(times);
        file.extend(member(&piece, level));
        text.extend(piece);
    }
    assert_eq!(check(&file, step), (text.clone(), Ends::Whole));
    if kind == 2 {
        let cut = usize::from(input.short()) % (file.len() + 1);
        // Whole members stay what they are, whatever stands after the cut.
        file.truncate(cut);
        let (before, _) = check(&file, step);
        assert!(text.starts_with(&before));
        file.extend(input.rest());
        // All but the last byte: the inflater may keep that back when it finds damage right after it.
        let known = before.len().min(MOST).saturating_sub(1);
        assert!(check(&file, step).0.starts_with(&before[..known]));
    }
}

fn member(text: &[u8], level: u8) -> Vec<u8> {
    let mut encoder = flate2::bufread::GzEncoder::new(text, flate2::Compression::new(level.into()));
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut encoder, &mut out).expect("memory to memory");
    out
}

/// What the reader makes of a file, after it was compared.
fn check(file: &[u8], step: usize) -> (Vec<u8>, Ends) {
    let (mut reader, size) = FILE.with_borrow(|place| place.open(file));
    let footer = file.last_chunk().map(|footer| u32::from_le_bytes(*footer));
    assert_eq!(size, footer);
    let mut buffer = vec![0; step];
    let mut text = Vec::with_capacity(MOST + step);
    let (ends, memory) = peak(|| read(&mut reader, &mut buffer, &mut text));
    assert!(memory < MEMORY, "{memory} bytes for a file of {}", file.len());
    assert_eq!(reader.inflated, text.len() as u64);
    if ends != Ends::Later {
        // Asked again, it neither goes on nor waits.
        assert!(matches!(
            reader.read(&mut buffer),
            Ok(Inflated::End(0) | Inflated::Damaged(0))
        ));
    }
    let (expected, expected_end) = reference(file);
    let common = text.len().min(expected.len());
    assert_eq!(text[..common], expected[..common]);
    if ends != Ends::Later && expected_end != Ends::Later {
        assert_eq!(ends, expected_end);
    }
    if (ends, expected_end) == (Ends::Whole, Ends::Whole) {
        assert_eq!(text.len(), expected.len());
    }
    (text, ends)
}

/// Reads until the end, or until there is enough; the room for the text is there already.
fn read(reader: &mut GzipFile, buffer: &mut [u8], text: &mut Vec<u8>) -> Ends {
    while text.len() < MOST {
        let (read, ends) = match reader.read(buffer).expect("the disk is well") {
            Inflated::Bytes(read) => {
                assert_eq!(read, buffer.len());
                (read, None)
            }
            Inflated::End(read) => (read, Some(Ends::Whole)),
            Inflated::Damaged(read) => (read, Some(Ends::Damaged)),
        };
        text.extend_from_slice(&buffer[..read]);
        if let Some(ends) = ends {
            return ends;
        }
    }
    Ends::Later
}

/// Member after member (RFC 1952), until there is nothing more or nothing right.
fn reference(file: &[u8]) -> (Vec<u8>, Ends) {
    let (mut text, mut at) = (vec![0; MOST], 0);
    let mut rest = file;
    let ends = loop {
        let Some(deflated) = header(rest) else {
            break Ends::Damaged;
        };
        let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let mut inflater = Box::<DecompressorOxide>::default();
        let (status, read, written) = decompress(&mut inflater, deflated, &mut text[at..], 0, flags);
        let member = &text[at..at + written];
        let footer = [
            crc32fast::hash(member).to_le_bytes(),
            (written as u32).to_le_bytes(),
        ]
        .concat();
        at += written;
        match status {
            TINFLStatus::Done => {}
            TINFLStatus::HasMoreOutput => break Ends::Later,
            _ => break Ends::Damaged,
        }
        let Some(after) = deflated[read..].strip_prefix(&footer[..]) else {
            break Ends::Damaged;
        };
        if after.is_empty() {
            break Ends::Whole;
        }
        rest = after;
    };
    text.truncate(at);
    (text, ends)
}

/// What follows the header of a member.
fn header(file: &[u8]) -> Option<&[u8]> {
    let flags = *file.strip_prefix(&[0x1f, 0x8b, 8])?.first()?;
    let mut rest = file.get(10..)?;
    if flags & 4 != 0 {
        let (len, after) = rest.split_first_chunk()?;
        rest = after.get(usize::from(u16::from_le_bytes(*len))..)?;
    }
    for _ in 0..(flags >> 3 & 1) + (flags >> 4 & 1) {
        rest = &rest[rest.iter().position(|byte| *byte == 0)? + 1..];
    }
    if flags & 2 != 0 {
        let crc = crc32fast::hash(&file[..file.len() - rest.len()]) as u16;
        rest = rest.strip_prefix(&crc.to_le_bytes())?;
    }
    (flags & 0xe0 == 0).then_some(rest)
}
