//! A human at a browser, as far as an HTTP client can be one: follows links, redirects and forms, keeps
//! cookies by host and port, fills in what a login page asks. It has no other channel to Nightlatch.

use super::http::{self, Answer};
use ::http::Method;
use std::collections::BTreeMap;

/// A browser with a jar of cookies and an account at the provider.
pub(crate) struct Browser {
    jar: BTreeMap<(String, String), String>,
    username: String,
    password: String,
    /// Every page that it was shown, and whose it was.
    seen: Vec<(String, Vec<u8>)>,
    /// Stops before this origin is called, and hands the address back: the human without that browser.
    stop_before: Option<String>,
}

/// Where following ended.
pub(crate) enum Landed {
    /// On a page that asks nothing more.
    Page(Answer),
    /// Before the address that it was told not to open.
    Before(String),
}

impl Browser {
    pub(crate) fn of(username: &str, password: &str) -> Self {
        Self {
            jar: BTreeMap::new(),
            username: username.to_owned(),
            password: password.to_owned(),
            seen: Vec::new(),
            stop_before: None,
        }
    }

    /// The same human, whose browser cannot reach addresses that begin so.
    pub(crate) fn stopping_before(mut self, prefix: &str) -> Self {
        self.stop_before = Some(prefix.to_owned());
        self
    }

    /// Opens an address and does what the pages ask: logs in, consents, until nothing is asked.
    pub(crate) async fn open(&mut self, url: &str) -> Landed {
        let (mut method, mut url, mut form) = (Method::GET, url.to_owned(), String::new());
        for _step in 0..25 {
            if self.stop_before.as_ref().is_some_and(|prefix| url.starts_with(prefix)) {
                return Landed::Before(url);
            }
            let page = self.fetch(method, &url, &form).await;
            if let Some(next) = page.header("location") {
                (method, url, form) = (Method::GET, absolute(&url, next), String::new());
            } else if let Some((action, fields)) = self.filled_form(&page.text()) {
                let action = if action.is_empty() { url.clone() } else { absolute(&url, &action) };
                (method, url, form) = (Method::POST, action, fields);
            } else {
                return Landed::Page(page);
            }
        }
        panic!("the pages never came to an end");
    }

    /// What the pages of one origin (`http://host:port`) showed. A provider's own hold the code, as they must.
    pub(crate) fn shown_by(&self, origin: &str) -> Vec<u8> {
        let own = self.seen.iter().filter(|(host, _)| host_of(origin) == *host);
        own.flat_map(|(_, page)| page.clone()).collect()
    }

    async fn fetch(&mut self, method: Method, url: &str, form: &str) -> Answer {
        let host = host_of(url);
        let cookies: Vec<String> = self
            .jar
            .iter()
            .filter(|((owner, _), _)| *owner == host)
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        let cookies = cookies.join("; ");
        let origin = format!("http://{host}");
        let mut headers = vec![("cookie", cookies.as_str())];
        if method == Method::POST {
            headers.extend([
                ("content-type", "application/x-www-form-urlencoded"),
                ("origin", origin.as_str()),
                ("referer", url),
            ]);
        }
        if cookies.is_empty() {
            headers.remove(0);
        }
        let page = http::send(method, url, &headers, form.to_owned()).await;
        for cookie in page.headers.get_all("set-cookie") {
            self.keep(&host, cookie.to_str().expect("a readable cookie"));
        }
        self.seen.push((host, page.seen()));
        page
    }

    fn keep(&mut self, host: &str, cookie: &str) {
        let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
        let (name, value) = pair.split_once('=').expect("name=value");
        let key = (host.to_owned(), name.trim().to_owned());
        let gone = value.is_empty() || attributes.contains("1970") || attributes.contains("Max-Age=0");
        if gone {
            self.jar.remove(&key)
        } else {
            self.jar.insert(key, value.trim().to_owned())
        };
    }

    /// The first POST form of a page with every field filled in, as `(action, body)`.
    fn filled_form(&self, html: &str) -> Option<(String, String)> {
        let start = html.find("<form")?;
        let form = &html[start..start + html[start..].find("</form>")?];
        let head = &form[..form.find('>')?];
        if !head.to_ascii_lowercase().contains("post") {
            return None;
        }
        let mut fields = form_urlencoded::Serializer::new(String::new());
        for input in form.split("<input").skip(1).chain(form.split("<button").skip(1)) {
            let tag = &input[..input.find('>').unwrap_or(input.len())];
            if let Some((name, value)) = self.field(tag) {
                fields.append_pair(&name, &value);
            }
        }
        Some((unescaped(&attribute(head, "action").unwrap_or_default()), fields.finish()))
    }

    fn field(&self, tag: &str) -> Option<(String, String)> {
        let name = attribute(tag, "name")?;
        // A consent page has a button for yes and one for no.
        if name == "cancel"
            || attribute(tag, "value").is_some_and(|value| value.eq_ignore_ascii_case("cancel"))
        {
            return None;
        }
        let value = match name.as_str() {
            "login" | "username" => self.username.clone(),
            "password" => self.password.clone(),
            _ => unescaped(&attribute(tag, "value").unwrap_or_default()),
        };
        Some((name, value))
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!("{name}=\""))? + name.len() + 2;
    let end = tag[start..].find('"')?;
    Some(tag[start..start + end].to_owned())
}

fn unescaped(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#x27;", "'")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

fn host_of(url: &str) -> String {
    url.trim_start_matches("http://").split(['/', '?']).next().unwrap_or_default().to_owned()
}

fn absolute(from: &str, to: &str) -> String {
    if to.starts_with("http://") || to.starts_with("https://") {
        return to.to_owned();
    }
    let base = format!("http://{}", host_of(from));
    if to.starts_with('/') {
        return format!("{base}{to}");
    }
    if to.starts_with('?') {
        return format!("{}{to}", from.split('?').next().unwrap_or_default());
    }
    let folder =
        from.split('?').next().and_then(|path| path.rsplit_once('/')).map_or("", |(folder, _)| folder);
    format!("{folder}/{to}")
}
