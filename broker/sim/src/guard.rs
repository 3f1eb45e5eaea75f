//! Catches panics of simulated processes, which are findings, and keeps them off the screen.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Lets panics under [`guarded`] be remembered instead of printed.
pub(crate) fn watch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IS_GUARDED.get() {
                LAST.set(info.to_string());
            } else {
                before(info);
            }
        }));
    });
}

/// Runs code of a simulated process; its panic comes back as text.
pub(crate) fn guarded<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    IS_GUARDED.set(true);
    // Nobody looks at what a process that panicked leaves behind.
    let result = catch_unwind(AssertUnwindSafe(code));
    IS_GUARDED.set(false);
    result.map_err(|_| LAST.take())
}
