"""Builds a program with cc."""

from SCons.Script import AlwaysBuild, Default, DefaultEnvironment

env = DefaultEnvironment()
env.Replace(AR="ar", CC="cc", CXX="c++", LINK="cc", PROGNAME="program", PROGSUFFIX="")
program = env.BuildProgram()
AlwaysBuild(env.Alias("buildprog", program))
Default(program)
