"""Keys are fetched from the public internet and from nowhere else, however it is written."""

import asyncio

import pytest
from oidc_server import Site, answer, site_of

from camber.services.auth.address import Target
from camber.services.auth.web import Stream, Web, WebError
from signing import Signer

PUBLIC = "93.184.215.14"
PUBLIC_6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"

# URLs that are not even looked up.
REFUSED = """
    http://id.example.com/
    http://93.184.215.14/
    ftp://id.example.com/
    file:///etc/passwd
    gopher://id.example.com/
    data:application/json,{}
    javascript:alert(1)
    //id.example.com/
    id.example.com
    https:/id.example.com
    https:///id.example.com
    https://
    https://user@id.example.com/
    https://user:pass@id.example.com/
    https://id.example.com@127.0.0.1/
    https://id.example.com\\@127.0.0.1/
    https://id.example.com\\.evil.example/
    https://id.example.com%2f@127.0.0.1/
    https://127.0.0.1%00.example.com/
    https://id.example.com:0/
    https://id.example.com:99999/
    https://id.example.com:x/
    https://id.example.com:/
    https://id.example.com./
    https://.example.com/
    https://id..example.com/
    https://-id.example.com/
    https://metadata/
    https://intranet/
    https://metadata.google.internal/computeMetadata/v1/
    https://instance-data.ec2.internal/
    https://kubernetes.default.svc.cluster.local/
    https://printer.local/
    https://router.lan/
    https://nas.home.arpa/
    https://box.localdomain/
    https://localhost/
    https://localhost.localdomain/
    https://x.localhost/
    https://127.0.0.1/
    https://127.0.0.1:3211/
    https://127.1/
    https://127.0.1/
    https://127.255.255.254/
    https://2130706433/
    https://0x7f000001/
    https://0x7f.0.0.1/
    https://0177.0.0.1/
    https://127.0.0.1./
    https://00127.0.0.1/
    https://0/
    https://0.0.0.0/
    https://0.1.2.3/
    https://10.0.0.1/
    https://100.64.0.1/
    https://100.100.100.200/
    https://169.254.169.254/latest/meta-data/
    https://169.254.170.2/
    https://0xa9fea9fe/
    https://2852039166/
    https://0251.0376.0251.0376/
    https://172.16.0.1/
    https://172.31.255.255/
    https://192.0.0.192/
    https://192.0.2.1/
    https://192.88.99.1/
    https://192.168.1.1/
    https://198.18.0.1/
    https://203.0.113.5/
    https://224.0.0.1/
    https://240.0.0.1/
    https://255.255.255.255/
    https://256.1.1.1/
    https://[::1]/
    https://[::]/
    https://[::ffff:127.0.0.1]/
    https://[::ffff:a9fe:a9fe]/
    https://[::ffff:93.184.215.14]/
    https://[::127.0.0.1]/
    https://[64:ff9b::7f00:1]/
    https://[64:ff9b::a9fe:a9fe]/
    https://[2002:7f00:1::]/
    https://[2001::1]/
    https://[2001:db8::1]/
    https://[fc00::1]/
    https://[fd00:ec2::254]/
    https://[fe80::1]/
    https://[fe80::1%25eth0]/
    https://[fec0::1]/
    https://[ff02::1]/
    https://[::1
    https://[127.0.0.1]/
    https://①②⑦.0.0.1/
    https://ｌocalhost/
    https://id.example。com/
    https://id.exa mple.com/
    https://id.example.com/a\tb
""".strip().split("\n")
URLS = [line.strip(" ").replace("\\\\", "\\").replace("\\t", "\t") for line in REFUSED]

# What a name may turn out to be, and must not.
INSIDE = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "100.64.0.1", "169.254.169.254"),
    *("172.16.5.4", "192.168.0.1", "192.0.0.192", "198.51.100.1", "224.0.0.1", "255.255.255.255"),
    *("::1", "::", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::a00:1", "2002:a00:1::"),
    *("2001:0:1::", "fc00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001:db8::1"),
    *("3fff::1", "4000::1", "nonsense"),
]


class Network:
    """A name server that gives another answer each time, and a network where nobody answers."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.looked_up: list[str] = []
        self.dialled: list[str] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def dial(self, address: str, target: Target) -> Stream:
        self.dialled.append(address)
        raise ConnectionRefusedError("nobody is there")

    def get(self, url: str, *, development: bool = False) -> str:
        """Why there is nothing at `url`."""
        web = Web(development=development, resolve=self.resolve, dial=self.dial)
        with pytest.raises(WebError) as caught:
            asyncio.run(web.get(url))
        return str(caught.value)


def test_there_are_eighty_of_them() -> None:
    assert len(set(URLS)) == len(URLS) >= 80


@pytest.mark.parametrize("url", URLS)
def test_s5_a_url_that_may_lead_inside_is_not_even_looked_up(url: str) -> None:
    network = Network([PUBLIC])
    network.get(url)
    assert (network.looked_up, network.dialled) == ([], [])


@pytest.mark.parametrize("address", INSIDE)
def test_s5_a_name_that_stands_for_an_address_inside_is_not_connected_to(address: str) -> None:
    for addresses in ([address], [PUBLIC, address], [address, PUBLIC], [PUBLIC_6, address]):
        network = Network(addresses)
        network.get("https://id.example.com/jwks")
        assert network.dialled == []


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "10.0.0.1"])
def test_s5_a_name_that_changes_its_mind_is_asked_once(address: str) -> None:
    network = Network([PUBLIC, PUBLIC_6], [address])
    network.get("https://id.example.com/jwks")
    assert network.looked_up == ["id.example.com"]
    assert network.dialled == [PUBLIC, PUBLIC_6]
    # The next time the new answer is judged.
    network.get("https://id.example.com/jwks")
    assert network.dialled == [PUBLIC, PUBLIC_6]


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example.com/", "https://id.example.com", "https://id.example.com:8443/a?b=c",
        "https://xn--bcher-kva.example/", "https://a_b.example.com/", "https://ID.Example.COM/",
        "https://login.microsoftonline.com/common/discovery/v2.0/keys",
    ],
)  # fmt: skip
def test_s5_what_is_public_is_connected_to(url: str) -> None:
    network = Network([PUBLIC, PUBLIC_6])
    assert "nobody is there" in network.get(url)
    assert network.dialled == [PUBLIC, PUBLIC_6]


@pytest.mark.parametrize("host", [PUBLIC, f"[{PUBLIC_6}]", "[64:ff9b::5db8:d70e]"])
def test_s5_a_public_address_may_stand_for_itself(host: str) -> None:
    network = Network([host.strip("[]")])
    network.get(f"https://{host}/")
    assert network.dialled == [host.strip("[]")]


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("http://127.0.0.1:3211/x", ["127.0.0.1"]),
        ("http://[::1]:3211/x", ["::1"]),
        ("http://localhost:3211/x", ["127.0.0.1", "::1"]),
        ("https://localhost/x", ["127.0.0.1", "::1"]),
        ("http://brave-otter-1.site.localhost:3211/x", ["127.0.0.1", "::1"]),
    ],
)
def test_s5_the_machine_itself_is_connected_to_in_development_only(
    url: str, addresses: list[str]
) -> None:
    # Whatever a name server makes of it.
    network = Network([url.partition("//")[2].rpartition(":")[0].strip("[]")])
    network.get(url, development=True)
    assert network.dialled == addresses
    network = Network(["127.0.0.1"])
    network.get(url)
    assert network.dialled == []


def test_s5_a_name_of_the_machine_itself_is_not_what_development_means() -> None:
    network = Network(["127.0.0.1"])
    network.get("https://id.example.com/", development=True)
    network.get("http://id.example.com/", development=True)
    assert network.dialled == []


def test_s5_no_redirect_is_followed() -> None:
    async def scenario(site: Site) -> None:
        for status in ("301 Moved", "302 Found", "303 See Other", "307 Again", "308 Moved"):
            site.answers["/jwks"] = answer(
                b"", status, extra=f"location: {site.origin}/.well-known/openid-configuration\r\n"
            )
            told = await Web(development=True).get(f"{site.origin}/jwks")
            assert told.status == int(status[:3])
        assert set(site.asked) == {"/jwks"}

    async def all_() -> None:
        async with site_of(Signer("RS256")) as site:
            await scenario(site)

    asyncio.run(all_())
