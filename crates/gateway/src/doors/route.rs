//! The `route` door: a base URL per tool. `/{tool}/…` is its first host, `/{tool}/~{route}/…` another.
//!
//! The path is read once, by the catalogue's one parse, before it is split: what is cut off here is cut off
//! the very bytes that policy will match and the upstream will get. A tool's or route's name that is
//! spelled with escapes does not exist in canonical form, so there is nothing to confuse.

use super::addressed::{self, Addressed};
use nightlatch_domain::{
    exchange::Target,
    problem::{Problem, ProblemKind},
    tool::Name,
};

/// Reads method and target of a request at the gateway.
///
/// # Errors
/// [`ProblemKind::BadRequest`] for what could be read in two ways, [`ProblemKind::NotFound`] for a path
/// that begins with no name.
pub(crate) fn read(method: &str, raw_target: &str) -> Result<Addressed, Problem> {
    let target = addressed::target(method, raw_target)?;
    let not_found = || Problem::new(ProblemKind::NotFound);
    let inside = target.path.strip_prefix('/').ok_or_else(not_found)?;
    let (tool, rest) = inside.split_once('/').unwrap_or((inside, ""));
    if tool == "v1" {
        return Err(Problem::new(ProblemKind::NotSupported).at_field("target"));
    }
    let tool: Name = tool.parse().map_err(|_| not_found())?;
    let (route, path) = match rest.strip_prefix('~') {
        Some(named) => named.split_once('/').unwrap_or((named, "")),
        None => ("", rest),
    };
    // `/{tool}/~/…` would be a second spelling of the first host.
    if rest.starts_with('~') && route.is_empty() {
        return Err(not_found());
    }
    let (route, path) = (route.to_owned(), format!("/{path}"));
    Ok(Addressed { tool, route, origin: None, target: Target { path, ..target } })
}

#[cfg(test)]
mod tests {
    use super::read;
    use nightlatch_domain::problem::ProblemKind;

    #[test]
    fn a_path_names_tool_route_and_target() {
        let first = read("GET", "/github/repos/a/b?x=1").unwrap();
        assert_eq!(
            (first.tool.as_str(), first.route.as_str(), first.target.path.as_str()),
            ("github", "", "/repos/a/b")
        );
        assert_eq!(first.target.query.as_deref(), Some("x=1"));
        let git = read("GET", "/github/~git/a/b.git/info/refs").unwrap();
        assert_eq!((git.route.as_str(), git.target.path.as_str()), ("git", "/a/b.git/info/refs"));
        assert_eq!(read("GET", "/github").unwrap().target.path, "/");
        assert_eq!(read("GET", "/github/~git").unwrap().target.path, "/");
    }

    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_refused() {
        for odd in [
            "/github/../v1/enrol",
            "/github/%2e%2e/x",
            "/github/a%2fb",
            "/github//x",
            "//github/x",
            "/github/a\\b",
            "/github/%252e%252e/x",
            "/github/..;/x",
        ] {
            assert_eq!(read("GET", odd).unwrap_err().kind, ProblemKind::BadRequest, "{odd}");
        }
    }

    #[test]
    fn our_own_paths_are_no_tools() {
        for own in ["/v1", "/v1/enrol", "/v1/call", "/%76%31/enrol"] {
            assert_eq!(read("GET", own).unwrap_err().kind, ProblemKind::NotSupported, "{own}");
        }
    }

    #[test]
    fn what_begins_with_no_tool_is_not_found() {
        for odd in ["/", "/GitHub/x", "/github/~/x", "/~git/x", "/%41/x"] {
            assert_eq!(read("GET", odd).unwrap_err().kind, ProblemKind::NotFound, "{odd}");
        }
    }
}
