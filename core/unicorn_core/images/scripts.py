"""What is run in the image for `python`, `apt` and `pip`; packages come as arguments, never as a part of the text."""

# Neither lists nor archives go into the image, and translations of descriptions are not even fetched. Nothing need be on the disk
# before the image is: dpkg waits for no file.
_APT_INSTALL = """\
apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q -o Acquire::Languages=none update &&
    apt-get -q install -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io -- "$@" || exit
  apt-get clean
  rm -rf /var/lib/apt/lists/*
}
"""

_GOOD = "python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))'"

PYTHON = f"""\
{_APT_INSTALL}\
if command -v python3 >/dev/null 2>&1 && {_GOOD}; then exit 0; fi
if command -v apt-get >/dev/null 2>&1; then apt_install python3
elif command -v apk >/dev/null 2>&1; then apk add --no-cache python3 || exit
elif command -v dnf >/dev/null 2>&1; then dnf install -y python3 || exit
elif command -v microdnf >/dev/null 2>&1; then microdnf install -y python3 || exit
elif command -v yum >/dev/null 2>&1; then yum install -y python3 || exit
elif command -v zypper >/dev/null 2>&1; then zypper --non-interactive install python3 || exit
else
  echo "The base has no python3, and none of apt-get, apk, dnf, microdnf, yum, zypper to add it: choose a base with Python." >&2
  exit 1
fi
{_GOOD} || {{ echo "The base's packages have no Python of at least 3.9: choose a base that brings one." >&2; exit 1; }}
"""

APT = f"""\
{_APT_INSTALL}\
command -v apt-get >/dev/null 2>&1 ||
  {{ echo "The base has no apt-get: choose a Debian base, or install packages by commands." >&2; exit 1; }}
apt_install "$@"
"""

PIP = f"""\
{_APT_INSTALL}\
export PIP_BREAK_SYSTEM_PACKAGES=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1
if ! python3 -m pip --version >/dev/null 2>&1; then
  if command -v apt-get >/dev/null 2>&1; then apt_install python3-pip
  elif command -v apk >/dev/null 2>&1; then apk add --no-cache py3-pip || exit
  elif command -v dnf >/dev/null 2>&1; then dnf install -y python3-pip || exit
  else python3 -m ensurepip || {{ echo "The base's Python has no pip, and it cannot be added." >&2; exit 1; }}
  fi
fi
exec python3 -m pip install -- "$@"
"""
