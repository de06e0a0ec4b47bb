# Everything comes from Debian 12; docs/dependencies.md says why each is here.
find_package(PkgConfig REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
# Debian ships no static libfmt, so the header-only target serves both kinds of build alike.
find_package(fmt REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)

if(STALLSCOPE_STATIC)
  set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
endif()
find_library(STALLSCOPE_LIBBPF NAMES bpf REQUIRED)
find_library(STALLSCOPE_LIBELF NAMES elf REQUIRED)
find_library(STALLSCOPE_LIBZ NAMES z REQUIRED)
find_library(STALLSCOPE_LIBSQLITE NAMES sqlite3 REQUIRED)

add_library(stallscope_libbpf INTERFACE)
target_link_libraries(stallscope_libbpf INTERFACE ${STALLSCOPE_LIBBPF} ${STALLSCOPE_LIBELF} ${STALLSCOPE_LIBZ})
add_library(stallscope_sqlite INTERFACE)
target_link_libraries(stallscope_sqlite INTERFACE ${STALLSCOPE_LIBSQLITE} Threads::Threads ${CMAKE_DL_LIBS} m)
