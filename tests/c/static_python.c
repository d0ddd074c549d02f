// A Python with OpenSSL in its executable, as uv's and conda's are: the modules that use it are built in.
#include <Python.h>

PyMODINIT_FUNC PyInit__ssl(void);
PyMODINIT_FUNC PyInit__hashlib(void);

int main(int argc, char **argv) {
    if (PyImport_AppendInittab("_ssl", PyInit__ssl) < 0 ||
        PyImport_AppendInittab("_hashlib", PyInit__hashlib) < 0)
        return 1;
    return Py_BytesMain(argc, argv);
}
