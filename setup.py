"""The native worker's extension. The rest of the package's description is in pyproject.toml.

It is optional: without a C compiler or OpenSSL's headers the package installs all the same, and the
data path in Python serves. libipsec-mb is looked for when it runs; its header is used if there.
"""

from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).parent
FASTPATH = Path("ovpn6/datapath/fastpath")
FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden", "-fstack-protector-strong"]

setup(
    ext_modules=[
        Extension(
            "ovpn6.datapath.fastpath._fastpath",
            sources=sorted(str(FASTPATH / path.name) for path in (HERE / FASTPATH).glob("*.c")),
            depends=sorted(str(FASTPATH / path.name) for path in (HERE / FASTPATH).glob("*.h")),
            define_macros=[("_GNU_SOURCE", "1"), ("_FORTIFY_SOURCE", "2")],
            extra_compile_args=FLAGS,
            extra_link_args=["-Wl,-z,relro,-z,now"],
            libraries=["crypto", "dl", "pthread"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
