//! Writes `crds/manifests/*.yaml` from the types.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    std::fs::create_dir_all(&folder)?;
    for (name, text) in cmq_crds::manifest::files() {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}
