"""Real Debian kernels under QEMU, without disk images: ``netns-tests/vm/vm --help``.

Needs root on Debian and the packages of ``.ci/packages vm``; no hardware virtualisation. The
modules here use the standard library only; what runs in the guest uses the project.
"""
