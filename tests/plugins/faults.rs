// What can go wrong in a plugin, for all three faulty plugins (each includes this file).

use std::io::Write as _;
use std::time::Duration;

/// What goes wrong, where, and how often.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
struct Faults {
    /// What.
    fault: String,
    /// In which method; empty for every one.
    at: String,
    /// How often; 0 for always. Counted in the file `marker`, so that a new process goes on counting.
    times: u64,
    marker: String,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            fault: "panic".to_owned(),
            at: String::new(),
            times: 0,
            marker: String::new(),
        }
    }
}

/// The JSON Schema of [`Faults`].
#[allow(dead_code, reason = "not every plugin uses it as it is")]
const FAULTS_SCHEMA: &str = r#"{
    "type": "object",
    "additionalProperties": false,
    "properties": {
        "fault": { "type": "string" },
        "at": { "type": "string" },
        "times": { "type": "integer", "minimum": 0 },
        "marker": { "type": "string" },
        "weight": { "type": "number", "maximum": 10 }
    }
}"#;

impl Faults {
    /// The fault that is due in this method now; counts it.
    fn due(&self, method: &str) -> Option<&str> {
        if self.fault == "none" || !(self.at.is_empty() || self.at == method) {
            return None;
        }
        if self.times > 0 {
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&self.marker).expect("a marker");
            if file.metadata().expect("its length").len() >= self.times {
                return None;
            }
            file.write_all(b"x").expect("counted");
        }
        Some(&self.fault)
    }

    /// Goes wrong as configured, if that is something that any method can do. Faults of another sort are returned.
    fn strike(&self, method: &str) -> Option<&str> {
        let fault = self.due(method)?;
        match fault {
            "panic" => panic!("{method} panics"),
            "payload" => std::panic::panic_any(Bomb),
            "segfault" => {
                #[allow(unsafe_code, reason = "the fault itself")]
                // SAFETY: none; this is meant to end the process.
                unsafe {
                    std::ptr::null_mut::<u32>().write_volatile(1);
                }
            }
            "abort" => std::process::abort(),
            "exit" => std::process::exit(7),
            "loop" => loop {
                std::hint::spin_loop();
            },
            "sleep" => std::thread::sleep(Duration::from_secs(3600)),
            "slow" => std::thread::sleep(Duration::from_millis(300)),
            "overflow" => {
                println!("{}", overflow(1));
            }
            "memory" => hog(),
            "print" => {
                for number in 0..3_000 {
                    println!("garbage {number} \u{1b}[2J");
                }
                let _ = std::io::stdout().write_all(&[0xff, 0xfe, 0, b'\n']);
                eprintln!("last words");
            }
            "close" => {
                for fd in 3..64 {
                    close(fd);
                }
                std::thread::sleep(Duration::from_secs(3600));
            }
            "scribble" => {
                for fd in 3..64 {
                    if let Ok(link) = std::fs::read_link(format!("/proc/self/fd/{fd}"))
                        && link.to_string_lossy().starts_with("socket:")
                    {
                        scribble(fd);
                    }
                }
                std::thread::sleep(Duration::from_secs(3600));
            }
            other => return Some(other),
        }
        None
    }
}

/// What a panic carries, and panics itself when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the payload panics, too");
    }
}

#[allow(unconditional_recursion, reason = "the fault itself")]
fn overflow(depth: u64) -> u64 {
    let here = [depth; 64];
    std::hint::black_box(&here);
    overflow(depth + 1) + here[3]
}

fn hog() {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    // More than any limit of the tests, and not more than a machine has.
    for _ in 0..512 {
        kept.push(vec![1; 16 << 20]);
    }
    std::hint::black_box(&kept);
}

#[allow(unsafe_code, reason = "the fault itself")]
mod raw {
    unsafe extern "C" {
        pub fn close(fd: i32) -> i32;
        pub fn write(fd: i32, bytes: *const u8, count: usize) -> isize;
    }
}

fn close(fd: i32) {
    #[allow(unsafe_code, reason = "the fault itself")]
    // SAFETY: takes a number only.
    unsafe {
        raw::close(fd);
    }
}

fn scribble(fd: i32) {
    let garbage = [0xee_u8; 64];
    #[allow(unsafe_code, reason = "the fault itself")]
    // SAFETY: the bytes are valid for the call.
    unsafe {
        raw::write(fd, garbage.as_ptr(), garbage.len());
    }
}
