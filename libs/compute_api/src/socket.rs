//! Where the bootstrap superuser's socket is, for whoever may enter its directory: compute_ctl, and whoever runs it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// Whom PostgreSQL takes everybody for who comes that way.
pub const SOCKET_USER: &str = "postgres";

/// A socket's whole path must fit into `sockaddr_un`, 107 bytes, name included.
const LONGEST_DIRECTORY: usize = 80;

/// `home` is what holds the data directory, by its real path.
pub fn socket_directory(home: &Path) -> PathBuf {
    let near = home.join("socket");
    if near.as_os_str().len() <= LONGEST_DIRECTORY { near } else { far_from(home) }
}

/// For homes with long names: a short directory, named by the long one.
fn far_from(home: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    home.hash(&mut hasher);
    PathBuf::from(format!("/tmp/varve-{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_home_gets_a_short_socket_directory() {
        let root = Path::new("/srv/varve");
        assert_eq!(socket_directory(root), root.join("socket"));
        let long = socket_directory(&root.join("x".repeat(90)));
        assert!(long.as_os_str().len() <= LONGEST_DIRECTORY, "{long:?}");
        assert_ne!(long, socket_directory(&root.join("y".repeat(90))));
    }
}
