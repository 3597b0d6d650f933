//! The pages that a human meets: login, consent, and why nothing came of it.

use crate::provider::Landing;

/// The HTML of a landing that is a page.
pub(crate) fn html(landing: &Landing) -> String {
    match landing {
        Landing::Login { request, wrong } => login(request, *wrong),
        Landing::Consent { request, once, login, client_id, scope } => {
            consent(request, once, login, client_id, scope)
        }
        Landing::Refused(why) => page("Not possible", &format!("<p>{}</p>", escaped(why))),
        Landing::LoggedIn { .. } | Landing::Back(_) => page("Going on", ""),
    }
}

fn login(request: &str, wrong: bool) -> String {
    let again = if wrong { "<p>That is not the password.</p>" } else { "" };
    let form = format!(
        "{again}<form method=\"post\" action=\"/login\">\
         <input type=\"hidden\" name=\"request\" value=\"{}\">\
         <label>Login <input name=\"login\" autocomplete=\"username\"></label>\
         <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\"></label>\
         <button name=\"go\" value=\"log-in\">Log in</button></form>",
        escaped(request)
    );
    page("Log in", &form)
}

fn consent(request: &str, once: &str, login: &str, client_id: &str, scope: &str) -> String {
    let form = format!(
        "<p>{} asks for <b>{}</b> in the name of <b>{}</b>.</p>\
         <form method=\"post\" action=\"/consent\">\
         <input type=\"hidden\" name=\"request\" value=\"{}\">\
         <input type=\"hidden\" name=\"once\" value=\"{}\">\
         <button name=\"decision\" value=\"agree\">Allow</button>\
         <button name=\"decision\" value=\"cancel\">Cancel</button></form>",
        escaped(client_id),
        escaped(scope),
        escaped(login),
        escaped(request),
        escaped(once)
    );
    page("Allow access?", &form)
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html><head><title>{title}</title></head><body><h1>{title}</h1>{body}</body></html>"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
