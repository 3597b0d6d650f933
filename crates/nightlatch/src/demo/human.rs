//! A human at a browser, as far as an HTTP client can be one: opens the address that a command printed,
//! follows redirects, keeps cookies by host, fills in the forms that it meets. It has no other channel.

use super::http::{Answer, Call, HttpError, Line, loopback};
use http::Method;
use std::collections::BTreeMap;

/// More pages than any login has.
const STEPS_MAX: usize = 20;

/// A browser, and what its human types.
pub(crate) struct Browser {
    login: String,
    password: String,
    /// (host, name) → value.
    cookies: BTreeMap<(String, String), String>,
}

/// Why the human came to no end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// A page could not be opened.
    #[error("the browser could not open a page: {0}")]
    Http(#[from] HttpError),
    /// There was always one more page.
    #[error("the pages came to no end")]
    Endless,
}

impl Browser {
    /// A browser without cookies.
    pub(crate) fn of(login: &str, password: &str) -> Self {
        Self { login: login.to_owned(), password: password.to_owned(), cookies: BTreeMap::new() }
    }

    /// Opens an address and does what the pages ask, until a page asks nothing. Answers its status.
    pub(crate) async fn open(&mut self, address: &str) -> Result<u16, Lost> {
        match self.follow(address, None).await? {
            Ended::Page(status) => Ok(status),
            Ended::Before(_) => Err(Lost::Endless),
        }
    }

    /// The same, and stops before an address that begins so, as a human does who copies it out of the bar.
    pub(crate) async fn open_until(&mut self, address: &str, ends_at: &str) -> Result<String, Lost> {
        match self.follow(address, Some(ends_at)).await? {
            Ended::Before(address) => Ok(address),
            Ended::Page(_) => Err(Lost::Endless),
        }
    }

    async fn follow(&mut self, address: &str, ends_at: Option<&str>) -> Result<Ended, Lost> {
        let mut step = Step { method: Method::GET, url: address.to_owned(), form: String::new() };
        for _ in 0..STEPS_MAX {
            if ends_at.is_some_and(|end| step.url.starts_with(end)) {
                return Ok(Ended::Before(step.url));
            }
            let page = self.fetch(&step).await?;
            match self.next(&step.url, &page) {
                Some(next) => step = next,
                None => return Ok(Ended::Page(page.status.as_u16())),
            }
        }
        Err(Lost::Endless)
    }

    async fn fetch(&mut self, step: &Step) -> Result<Answer, HttpError> {
        let (host, path) = loopback(&step.url)?;
        let mut headers = Vec::new();
        let kept = self.cookies.iter().filter(|((owner, _), _)| owner == host);
        let kept: Vec<String> = kept.map(|((_, name), value)| format!("{name}={value}")).collect();
        if !kept.is_empty() {
            headers.push(("cookie", kept.join("; ")));
        }
        if step.method == Method::POST {
            headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
            headers.push(("origin", format!("http://{host}")));
        }
        let call = Call { method: step.method.clone(), path, host, headers, body: step.form.clone() };
        let page = Line::to(host, None).await?.call(call).await?;
        for cookie in page.headers.get_all("set-cookie") {
            self.keep(host, &String::from_utf8_lossy(cookie.as_bytes()));
        }
        Ok(page)
    }

    fn keep(&mut self, host: &str, cookie: &str) {
        let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
        let Some((name, value)) = pair.split_once('=') else { return };
        let key = (host.to_owned(), name.trim().to_owned());
        if value.is_empty() || attributes.to_ascii_lowercase().contains("max-age=0") {
            self.cookies.remove(&key);
        } else {
            self.cookies.insert(key, value.trim().to_owned());
        }
    }

    /// What a page asks for next: a redirect, or its form filled in.
    fn next(&self, url: &str, page: &Answer) -> Option<Step> {
        if let Some(location) = page.header("location") {
            return Some(Step { method: Method::GET, url: absolute(url, location), form: String::new() });
        }
        let (action, form) = self.filled(&page.text())?;
        let url = if action.is_empty() { url.to_owned() } else { absolute(url, &action) };
        Some(Step { method: Method::POST, url, form })
    }

    /// The first form of a page that is posted, with every field filled in and its first button pressed.
    fn filled(&self, html: &str) -> Option<(String, String)> {
        let (_, rest) = html.split_once("<form")?;
        let (form, _) = rest.split_once("</form>")?;
        let (head, body) = form.split_once('>')?;
        if !head.to_ascii_lowercase().contains("post") {
            return None;
        }
        let mut filled = form_urlencoded::Serializer::new(String::new());
        let button = body.split("<button").nth(1);
        for tag in body.split("<input").skip(1).chain(button) {
            let tag = tag.split('>').next().unwrap_or_default();
            let Some(name) = attribute(tag, "name") else { continue };
            let value = match name.as_str() {
                "login" => self.login.clone(),
                "password" => self.password.clone(),
                _ => attribute(tag, "value").unwrap_or_default(),
            };
            filled.append_pair(&name, &value);
        }
        Some((attribute(head, "action").unwrap_or_default(), filled.finish()))
    }
}

struct Step {
    method: Method,
    url: String,
    form: String,
}

enum Ended {
    Page(u16),
    Before(String),
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(unescaped(value))
}

fn unescaped(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

fn absolute(from: &str, to: &str) -> String {
    match loopback(from) {
        Ok((host, _)) if to.starts_with('/') => format!("http://{host}{to}"),
        _ => to.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Browser, absolute};

    #[test]
    fn a_form_is_filled_in_and_its_first_button_pressed() {
        let browser = Browser::of("dana", "p&w");
        let html = "<form method=\"post\" action=\"/go?a=1&amp;b=2\"><input name=\"login\"><input name=\"password\">\
                    <input name=\"once\" value=\"x&quot;y\"><button name=\"say\" value=\"yes\">Y</button>\
                    <button name=\"say\" value=\"no\">N</button></form>";
        let (action, form) = browser.filled(html).unwrap();
        assert_eq!(
            (action.as_str(), form.as_str()),
            ("/go?a=1&b=2", "login=dana&password=p%26w&once=x%22y&say=yes")
        );
        assert!(browser.filled("<p>done</p>").is_none());
    }

    #[test]
    fn an_address_of_the_same_host_is_made_whole() {
        assert_eq!(absolute("http://127.0.0.1:1/a/b?c", "/d"), "http://127.0.0.1:1/d");
        assert_eq!(absolute("http://127.0.0.1:1/a", "http://127.0.0.1:2/x"), "http://127.0.0.1:2/x");
    }
}
