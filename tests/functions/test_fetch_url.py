"""URLs, after the URL standard."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camber.functions.fetch import URL


@pytest.mark.parametrize(
    ("text", "href"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTP://EXAMPLE.com:80/A", "http://example.com/A"),
        ("https://example.com:443/", "https://example.com/"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("http://example.com:/", "http://example.com/"),
        ("http://example.com:0080/", "http://example.com/"),
        ("http://example.com:65535", "http://example.com:65535/"),
        ("  http://a/b\n\tc  ", "http://a/bc"),
        ("http:a", "http://a/"),
        ("http:/a", "http://a/"),
        ("http:////a/b", "http://a/b"),
        ("http:\\\\a\\b?c\\d#e\\f", "http://a/b?c\\d#e\\f"),
        ("http://a/./b/../c/%2e/%2E%2e/d", "http://a/d"),
        ("http://a/b/..", "http://a/"),
        ("http://a/b/.", "http://a/b/"),
        ("http://a/../../x", "http://a/x"),
        ("http://a//b///c", "http://a//b///c"),
        ("http://a/b%20c%zz%", "http://a/b%20c%zz%"),
        ("http://a/b c{d}`^é", "http://a/b%20c%7Bd%7D%60%5E%C3%A9"),
        ("http://a/|'()*!$&,;=:@~[]", "http://a/|'()*!$&,;=:@~[]"),
        ("http://a?b c'\"<>", "http://a/?b%20c%27%22%3C%3E"),
        ("http://a?b#c d`", "http://a/?b#c%20d%60"),
        ("http://a/?", "http://a/?"),
        ("http://a/#", "http://a/#"),
        ("http://u:p@a/", "http://u:p@a/"),
        ("http://u@v:p:q@a/", "http://u%40v:p%3Aq@a/"),
        ("http://:p@a/", "http://:p@a/"),
        ("http://@a/", "http://a/"),
        ("http://127.1/", "http://127.0.0.1/"),
        ("http://0x7f.0.0.01/", "http://127.0.0.1/"),
        ("http://4294967295/", "http://255.255.255.255/"),
        ("http://1.2.3.4./", "http://1.2.3.4/"),
        ("http://[::1]:3211/", "http://[::1]:3211/"),
        ("http://[1:0:0:2:0:0:0:3]/", "http://[1:0:0:2::3]/"),
        ("http://[0:0:1:0:0:1:0:0]/", "http://[::1:0:0:1:0:0]/"),
        ("http://[::FFFF:1.2.3.4]/", "http://[::ffff:102:304]/"),
        ("http://ex%41mple.com/", "http://example.com/"),
        ("http://a_b.c-d/", "http://a_b.c-d/"),
        ("http://a/\ud800", "http://a/%EF%BF%BD"),
        ("mailto:a@b?subject=x y", "mailto:a@b?subject=x%20y"),
        ("data:text/plain,a b", "data:text/plain,a b"),
        ("foo://h/a/../b", "foo://h/b"),
        ("foo:/a/..//b", "foo:/.//b"),
        ("file:///a/./b", "file:///a/b"),
        ("file:a", "file:///a"),
    ],
)
def test_a_url_is_written_in_its_one_form(text: str, href: str) -> None:
    assert URL(text).href == str(URL(text)) == href
    assert str(URL(href)) == href


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/a",
        "a",
        "//a",
        "http:",
        "http://",
        "http:///",
        "http://?x",
        "http://a:65536",
        "http://a:b",
        "http://a:-1",
        "http://a:٣",
        "http://u@",
        "http://u:p@/x",
        "http://:80",
        "http://a b/",
        "http://a%20b/",
        "http://a<b/",
        "http://a^b/",
        "http://a%00b",
        "http://[::1",
        "http://[::1]x/",
        "http://[x]/",
        "http://[fe80::1%25eth0]/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://1.2.3.256/",
        "http://08.1/",
        "http://4294967296/",
        "1http://a",
    ],
)
def test_what_is_not_a_url_is_refused(text: str) -> None:
    assert not URL.can_parse(text)
    with pytest.raises(TypeError, match="Invalid URL"):
        URL(text)


# The examples of RFC 3986, 5.4, which the URL standard shares where both are strict.
@pytest.mark.parametrize(
    ("reference", "href"),
    [
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g/"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q#s"),
        ("g#s", "http://a/b/c/g#s"),
        (";x", "http://a/b/c/;x"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../../g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        ("g;x=1/../y", "http://a/b/c/y"),
        ("g?y/./x", "http://a/b/c/g?y/./x"),
        ("\\g", "http://a/g"),
        ("http:g", "http://a/b/c/g"),
        ("https:g", "https://g/"),
        ("g:h", "g:h"),
    ],
)
def test_a_reference_is_read_relative_to_its_base(reference: str, href: str) -> None:
    assert URL(reference, "http://a/b/c/d;p?q").href == href


def test_an_opaque_base_takes_only_a_fragment() -> None:
    assert URL("#x", "mailto:a").href == "mailto:a#x"
    with pytest.raises(TypeError):
        URL("x", "mailto:a")


def test_the_parts_of_a_url() -> None:
    url = URL("https://user:pass@Example.com:8080/a/b%20c?x=1&y=2#top")
    assert url.protocol == "https:"
    assert url.origin == "https://example.com:8080"
    assert (url.username, url.password) == ("user", "pass")
    assert (url.host, url.hostname, url.port) == ("example.com:8080", "example.com", "8080")
    assert url.pathname == "/a/b%20c"
    assert url.search == "?x=1&y=2"
    assert url.hash == "#top"


def test_absent_and_empty_parts_read_as_empty() -> None:
    url = URL("http://a/?#")
    assert (url.search, url.hash, url.port, url.username) == ("", "", "", "")
    assert URL("mailto:x").origin == "null"


@pytest.mark.parametrize(
    ("part", "value", "href"),
    [
        ("href", "https://x/y", "https://x/y"),
        ("protocol", "https", "https://a:8080/p?q#f"),
        ("protocol", "https:", "https://a:8080/p?q#f"),
        ("protocol", "foo", "http://a:8080/p?q#f"),
        ("username", "u@", "http://u%40@a:8080/p?q#f"),
        ("password", "s", "http://:s@a:8080/p?q#f"),
        ("host", "b:81", "http://b:81/p?q#f"),
        ("host", "b", "http://b:8080/p?q#f"),
        ("hostname", "B", "http://b:8080/p?q#f"),
        ("hostname", "b c", "http://a:8080/p?q#f"),
        ("hostname", "", "http://a:8080/p?q#f"),
        ("port", "80", "http://a/p?q#f"),
        ("port", 81, "http://a:81/p?q#f"),
        ("port", "", "http://a/p?q#f"),
        ("port", "x", "http://a:8080/p?q#f"),
        ("pathname", "x/../y z", "http://a:8080/y%20z?q#f"),
        ("search", "?x=a b", "http://a:8080/p?x=a%20b#f"),
        ("search", "", "http://a:8080/p#f"),
        ("hash", "g h", "http://a:8080/p?q#g%20h"),
        ("hash", "", "http://a:8080/p?q"),
    ],
)
def test_a_part_that_is_set_changes_the_whole(part: str, value: str | int, href: str) -> None:
    url = URL("http://a:8080/p?q#f")
    setattr(url, part, value)
    assert str(url) == href


def test_setting_an_invalid_href_is_refused() -> None:
    url = URL("http://a/")
    with pytest.raises(TypeError):
        url.href = "nothing"
    assert str(url) == "http://a/"


def test_the_search_params_and_the_url_follow_each_other() -> None:
    url = URL("http://a/p?x=1#f")
    params = url.search_params
    params.append("author", "User 123")
    assert str(url) == "http://a/p?x=1&author=User+123#f"
    url.search = "?y=2"
    assert params.get("x") is None
    assert params.get("y") == "2"
    params.delete("y")
    assert str(url) == "http://a/p#f"
    url.href = "http://b/?z=3"
    assert params.get("z") == "3"
    assert url.search_params is params


def test_urls_equal_urls_and_text_written_the_same() -> None:
    assert URL("http://a") == URL("HTTP://A/") == "http://a/"
    assert URL("http://a") != URL("http://b")
    assert str(URL(URL("http://a/x"))) == "http://a/x"


@given(st.text(alphabet="ab/.%2e?#@:[]\\ é\t", max_size=30))
def test_writing_and_reading_again_changes_nothing(text: str) -> None:
    if URL.can_parse(text, "http://h/p"):
        url = URL(text, "http://h/p")
        assert str(URL(str(url))) == str(url)
        assert "/../" not in url.pathname
