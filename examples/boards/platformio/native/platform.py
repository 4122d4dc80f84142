"""The platform of the machine that builds: what PlatformIO's own of that name is, as far as a program in C needs it."""

from platformio.public import PlatformBase


class NativePlatform(PlatformBase):
    pass
