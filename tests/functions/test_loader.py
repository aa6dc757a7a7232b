"""Loading a functions folder: fresh modules, relative imports, errors with file and line."""

import asyncio
import gc
import os
import sys
import textwrap
import weakref
from pathlib import Path
from typing import Any

import pytest

from camber.errors import LoadError
from camber.functions.loader import App, load_app

HEAD = "from camber.functions.definition import *\n"


def write(root: Path, files: dict[str, str]) -> Path:
    folder = root / "convex"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return folder


def load(root: Path, files: dict[str, str]) -> App:
    return load_app(write(root, files))


def refuse(root: Path, files: dict[str, str]) -> LoadError:
    modules, finders = set(sys.modules), list(sys.meta_path)
    with pytest.raises(LoadError) as caught:
        load(root, files)
    assert {name for name in sys.modules if name.startswith("camber_app_")} <= modules
    assert sys.meta_path == finders
    return caught.value


def paths(app: App) -> list[str]:
    return [function.path for function in app.registry]


def call(app: App, path: str, *args: Any) -> Any:
    function = app.registry.find(path)
    assert function is not None
    return function(None, *args)


SEND = HEAD + "@mutation\ndef send(ctx): return 1\n"


def test_modules_and_nested_folders_are_found(tmp_path: Path) -> None:
    app = load(
        tmp_path,
        {
            "messages.py": SEND,
            "sendMessage.py": HEAD + "@mutation\nasync def default(ctx): ...",
            "dir/deep/file.py": HEAD + "@query\ndef list_(ctx): ...",
        },
    )
    assert paths(app) == ["dir/deep/file:list", "messages:send", "sendMessage:default"]
    assert app.root == tmp_path / "convex"
    assert len(app.files) == 3


def test_an_empty_folder_is_an_app(tmp_path: Path) -> None:
    app = load(tmp_path, {})
    assert paths(app) == []
    assert app.router is None
    assert app.schema is None


def test_what_is_no_module_of_the_app_is_skipped(tmp_path: Path) -> None:
    broken = "this is not Python"
    app = load(
        tmp_path,
        {
            "messages.py": SEND,
            "messages.test.py": broken,
            ".hidden.py": broken,
            ".git/hook.py": broken,
            "_generated/api.py": broken,
            "__pycache__/x.py": broken,
            "node_modules/gyp/x.py": broken,
            "README.md": broken,
            "api.ts": broken,
        },
    )
    assert paths(app) == ["messages:send"]


def test_modules_import_each_other_relatively(tmp_path: Path) -> None:
    app = load(
        tmp_path,
        {
            "messages.py": HEAD + "from .lib.text import up\n@query\ndef a(ctx): return up('a')",
            "lib/text.py": "from ..base import MARK\ndef up(t): return t.upper() + MARK",
            "base.py": "MARK = '!'",
            "dir/x.py": HEAD + "from . import y\n@query\ndef b(ctx): return y.Y",
            "dir/y.py": "Y = 2",
        },
    )
    assert call(app, "messages:a") == "A!"
    assert call(app, "dir/x:b") == 2


def test_a_module_may_stand_beside_a_folder_of_its_name(tmp_path: Path) -> None:
    app = load(
        tmp_path,
        {
            "lib.py": HEAD + "from .base import X\n@query\ndef one(ctx): return X",
            "lib/more.py": HEAD + "from ..base import X\n@query\ndef two(ctx): return X",
            "base.py": "X = 5",
            "user.py": HEAD
            + "from .lib.more import two as t\n@query\ndef three(ctx): return t(ctx)",
        },
    )
    assert paths(app) == ["lib/more:two", "lib:one", "user:three"]
    assert call(app, "lib:one") == call(app, "user:three") == 5


def test_a_package_file_is_executed_but_defines_no_module(tmp_path: Path) -> None:
    app = load(
        tmp_path,
        {
            "lib/__init__.py": "from .inner import X",
            "lib/inner.py": "X = 1",
            "messages.py": HEAD + "from .lib import X\n@query\ndef x(ctx): return X",
        },
    )
    assert paths(app) == ["messages:x"]
    assert call(app, "messages:x") == 1


def test_a_function_in_a_package_file_is_refused(tmp_path: Path) -> None:
    error = refuse(tmp_path, {"lib/__init__.py": SEND, "m.py": "from . import lib"})
    assert error.file == "convex/lib/__init__.py"
    assert "move it to a module" in str(error)


def test_an_imported_function_belongs_to_the_module_that_defines_it(tmp_path: Path) -> None:
    app = load(
        tmp_path,
        {
            "a.py": HEAD + "from .b import send\n@mutation\ndef own(ctx): ...",
            "b.py": SEND,
        },
    )
    assert paths(app) == ["a:own", "b:send"]


def test_modules_that_import_each_other_in_a_circle_keep_their_functions(tmp_path: Path) -> None:
    app = load(
        tmp_path,
        {
            "a.py": HEAD + "@query\ndef one(ctx): ...\nfrom .b import two",
            "b.py": HEAD + "from .a import one\n@query\ndef two(ctx): ...",
        },
    )
    assert paths(app) == ["a:one", "b:two"]


def test_a_function_made_by_a_factory_belongs_to_who_called_it(tmp_path: Path) -> None:
    app = load(
        tmp_path,
        {
            "lib.py": HEAD + "def make():\n    @query\n    def made(ctx): ...\n    return made",
            "m.py": "from .lib import make\nget = make()",
            "a.py": "from .m import get",
        },
    )
    assert paths(app) == ["m:get"]


def test_every_load_is_fresh_and_the_old_version_lives_on(tmp_path: Path) -> None:
    old = load(tmp_path, {"m.py": HEAD + "@query\ndef x(ctx): return 'old'"})
    # Same length, same second: only the content tells the difference.
    new = load(tmp_path, {"m.py": HEAD + "@query\ndef x(ctx): return 'new'"})
    assert call(old, "m:x") == "old"
    assert call(new, "m:x") == "new"
    assert not list(tmp_path.rglob("*.pyc"))


def test_an_edit_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    folder = write(tmp_path, {"m.py": HEAD + "@query\ndef x(ctx): return 1"})
    os.utime(folder / "m.py", (1, 1))
    assert call(load_app(folder), "m:x") == 1
    write(tmp_path, {"m.py": HEAD + "@query\ndef x(ctx): return 2"})
    os.utime(folder / "m.py", (1, 1))
    assert call(load_app(folder), "m:x") == 2


def test_a_version_can_be_loaded_again_after_its_files_changed(tmp_path: Path) -> None:
    files = {
        "m.py": HEAD + "from .lib.x import X\n@query\ndef x(ctx): return X",
        "lib/x.py": "X = 1",
    }
    app = load(tmp_path, files)
    write(tmp_path, {"m.py": "1/0", "lib/x.py": "", "new.py": "1/0"})
    again = load_app(app.root, sources=app.sources)
    assert call(again, "m:x") == 1


def test_an_unloaded_app_is_let_go_of(tmp_path: Path) -> None:
    finders = list(sys.meta_path)
    app = load(tmp_path, {"m.py": SEND, "dir/n.py": "class Big: ..."})
    big = weakref.ref(sys.modules[f"{app.package}.dir.n"].Big)
    app.unload()
    assert sys.meta_path == finders
    assert not [name for name in sys.modules if name.startswith(app.package)]
    assert call(app, "m:send") == 1
    del app
    gc.collect()
    assert big() is None


def test_the_folder_does_not_hide_the_official_client(tmp_path: Path) -> None:
    app = load(
        tmp_path, {"m.py": HEAD + "import convex\n@query\ndef x(ctx): return convex.__file__"}
    )
    assert "site-packages" in call(app, "m:x")


def test_app_modules_see_the_builtins_of_the_app(tmp_path: Path) -> None:
    folder = write(tmp_path, {"m.py": HEAD + "X = answer\n@query\ndef x(ctx): return X"})
    import builtins

    app = load_app(folder, builtins=lambda root: {**vars(builtins), "answer": 42})
    assert call(app, "m:x") == 42


def test_the_log_of_the_app_and_async_bodies_work(tmp_path: Path) -> None:
    app = load(tmp_path, {"m.py": HEAD + "@action\nasync def x(ctx): return 3"})
    assert asyncio.run(call(app, "m:x")) == 3


# Special modules.


HTTP = """
    from camber.functions.definition import http_endpoint
    from camber.functions.router import http_router

    @http_endpoint
    async def post(ctx, request): ...

    {name} = http_router()
    {name}.route(path="/post", method="POST", handler=post)
"""


@pytest.mark.parametrize("name", ["http", "default"])
def test_the_router_is_found(tmp_path: Path, name: str) -> None:
    app = load(tmp_path, {"http.py": HTTP.format(name=name)})
    assert app.router is not None
    assert [route[:2] for route in app.router.get_routes()] == [("/post", "POST")]
    assert paths(app) == ["http:post"]


def test_an_http_module_without_a_router_is_refused(tmp_path: Path) -> None:
    error = refuse(tmp_path, {"http.py": "X = 1"})
    assert str(error) == "`convex/http.py` must define `http`, a Router: `http = http_router()`."
    assert error.file == "convex/http.py"


def test_an_http_module_with_something_else_is_refused(tmp_path: Path) -> None:
    assert str(refuse(tmp_path, {"http.py": "http = 3"})) == (
        "`http` of `convex/http.py` is not a Router."
    )


def test_a_duplicate_route_is_refused_with_its_line(tmp_path: Path) -> None:
    again = 'http.route(path="/post", method="POST", handler=post)\n'
    text = textwrap.dedent(HTTP.format(name="http")) + again
    error = refuse(tmp_path, {"http.py": text})
    assert error.line == len(text.splitlines())
    assert "Path '/post' for method POST already in use" in str(error)
    assert again.strip() in str(error)


def test_a_handler_that_is_no_endpoint_is_refused(tmp_path: Path) -> None:
    text = HTTP.format(name="http").replace("@http_endpoint", "")
    assert str(refuse(tmp_path, {"http.py": text})) == (
        "The handler of POST /post in `convex/http.py` is no HTTP endpoint: "
        "decorate post with @http_endpoint."
    )


def test_the_schema_is_found(tmp_path: Path) -> None:
    app = load(tmp_path, {"schema.py": "from camber.values.schema import *\nschema = Schema()"})
    assert app.schema is not None


def test_a_schema_module_without_a_schema_is_refused(tmp_path: Path) -> None:
    assert str(refuse(tmp_path, {"schema.py": "X = 1"})).startswith(
        "`convex/schema.py` must define `schema`"
    )


# What goes wrong.


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="There is no functions folder at"):
        load_app(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "line", "cause", "source"),
    [
        ("x = 1\ny = (", 2, "SyntaxError: '(' was never closed", "y = ("),
        ("x = 1\n\nboom()\n", 3, "NameError: name 'boom' is not defined", "boom()"),
        ("raise ValueError", 1, "ValueError", "raise ValueError"),
        ("def f():\n  return 1/0\nf()", 2, "ZeroDivisionError: division by zero", "return 1/0"),
        ("import sys\nsys.exit(3)", 2, "SystemExit: 3", "sys.exit(3)"),
        ("import nothing_such", 1, "No module named 'nothing_such'", "import nothing_such"),
        ("from . import nothing", 1, "cannot import name 'nothing' from 'convex'", ""),
        (HEAD + "@query\nclass X: ...", 2, "TypeError: @query decorates a function", "@query"),
        (HEAD + "@query\ndef x(): ...", 2, "first parameter is the context", "@query"),
        (HEAD + "@query\ndef x(ctx, a: 'Gone'): ...", 2, "Gone", ""),
        (HEAD + "@query(name='a-b')\ndef x(ctx): ...", 2, "'a-b' cannot be the name", ""),
    ],
)
def test_an_error_names_file_line_and_cause(
    tmp_path: Path, text: str, line: int, cause: str, source: str
) -> None:
    error = refuse(tmp_path, {"dir/m.py": text} if "from ." not in text else {"m.py": text})
    file = "convex/dir/m.py" if "from ." not in text else "convex/m.py"
    assert (error.file, error.line) == (file, line)
    assert str(error).startswith(f"{file}:{line}: ")
    assert cause in str(error).splitlines()[0]
    assert source in str(error)
    assert "camber_app_" not in str(error)
    assert str(tmp_path) not in str(error)


def test_an_error_in_an_imported_module_names_who_imports_it(tmp_path: Path) -> None:
    error = refuse(tmp_path, {"a.py": "x = 1\nfrom .b import y", "b.py": "1/0"})
    assert str(error) == (
        "convex/b.py:1: ZeroDivisionError: division by zero\n"
        "    1/0\n"
        "  from convex/a.py:2\n"
        "    from .b import y"
    )


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x = '\xe9'", b"x = 1\x00", b"(" * 9000])
def test_a_file_that_is_no_python_is_named(tmp_path: Path, content: bytes) -> None:
    folder = write(tmp_path, {})
    (folder / "m.py").write_bytes(content)
    with pytest.raises(LoadError, match=r"^convex/m\.py") as caught:
        load_app(folder)
    assert caught.value.file == "convex/m.py"


def test_an_error_that_cannot_be_shown_is_named(tmp_path: Path) -> None:
    text = "class E(Exception):\n  def __str__(self): raise ValueError\nraise E"
    assert "E: (its message cannot be shown: ValueError)" in str(refuse(tmp_path, {"m.py": text}))


@pytest.mark.parametrize("line", ["from b import x", "from convex.b import x", "import b"])
def test_an_absolute_import_of_an_app_module_names_the_cure(tmp_path: Path, line: str) -> None:
    error = refuse(tmp_path, {"a.py": line, "b.py": "x = 1"})
    assert "write `from .b import …`" in str(error)


@pytest.mark.parametrize("name", ["my-module.py", "größe.py", "_system/x.py", "_deps/x.py", "_.py"])
def test_a_file_that_no_path_can_name_is_refused(tmp_path: Path, name: str) -> None:
    error = refuse(tmp_path, {name: "x = 1"})
    assert str(error).startswith(f"convex/{name} is not a valid path to a Convex module. ")


def test_two_functions_of_one_path_are_named_both(tmp_path: Path) -> None:
    text = SEND + "@mutation(name='send')\ndef other(ctx): ..."
    assert str(refuse(tmp_path, {"m.py": text})) == (
        "m:send is defined twice: at convex/m.py:2 and convex/m.py:4."
    )
