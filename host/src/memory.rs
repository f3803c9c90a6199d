//! Keeping the idle server small: glibc's allocator makes an arena per thread and keeps what start-up no longer needs.

/// Few arenas: the server's threads rarely allocate at the same moment. To be called before there are threads.
#[cfg(target_env = "gnu")]
#[expect(
    unsafe_code,
    reason = "glibc's allocator is set up through C functions"
)]
pub fn few_arenas() {
    const ARENAS: i32 = 2;
    // SAFETY: mallopt takes plain numbers and refuses what it does not know.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

/// Gives back to the system what is free.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "glibc's allocator is told through C functions")]
pub fn give_back() {
    // SAFETY: malloc_trim may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators look after themselves.
#[cfg(not(target_env = "gnu"))]
pub fn few_arenas() {}
/// Other allocators look after themselves.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}
