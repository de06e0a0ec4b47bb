# stallscope_bpf(<target> <name>.bpf.c...)
# The skeleton and its type <name>_bpf are named after the file, so that no two files may have one name.
# Compiles each program with clang and makes <name>.skel.h with bpftool; the object is embedded in the skeleton, so the
# binary needs no file at run time. Kernel types come from src/bpf/kernel_types.h, never from a generated vmlinux.h, so that
# the build is the same on every machine.
find_program(STALLSCOPE_BPF_CLANG NAMES clang-14 clang REQUIRED)
find_program(STALLSCOPE_LLVM_STRIP NAMES llvm-strip-14 llvm-strip REQUIRED)
find_program(STALLSCOPE_BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)
set(STALLSCOPE_BPF_HEADERS ${PROJECT_SOURCE_DIR}/src/bpf/kernel_types.h ${PROJECT_SOURCE_DIR}/src/bpf/compat.bpf.h)

function(stallscope_bpf target)
  set(skeletons)
  foreach(source IN LISTS ARGN)
    get_filename_component(name ${source} NAME)
    string(REPLACE ".bpf.c" "" name ${name})
    get_property(known GLOBAL PROPERTY STALLSCOPE_BPF_NAMES)
    if(name IN_LIST known)
      message(FATAL_ERROR "Two BPF programs are named ${name}.bpf.c: give ${CMAKE_CURRENT_SOURCE_DIR}/${source} another name")
    endif()
    set_property(GLOBAL APPEND PROPERTY STALLSCOPE_BPF_NAMES ${name})
    set(dir ${CMAKE_CURRENT_BINARY_DIR}/skeletons)
    file(MAKE_DIRECTORY ${dir})
    set(object ${dir}/${name}.bpf.o)
    set(skeleton ${dir}/${name}.skel.h)
    get_filename_component(source_dir ${CMAKE_CURRENT_SOURCE_DIR}/${source} DIRECTORY)
    file(GLOB records CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_record.h ${CMAKE_CURRENT_SOURCE_DIR}/*.bpf.h
         ${source_dir}/*_record.h ${source_dir}/*.bpf.h)
    add_custom_command(OUTPUT ${skeleton}
      COMMAND ${STALLSCOPE_BPF_CLANG} -g -O2 -mcpu=v3 --target=bpf -D__TARGET_ARCH_x86 -Wall -Wextra -Werror
              -Wno-unused-parameter -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE} -I${PROJECT_SOURCE_DIR}/src -I${PROJECT_SOURCE_DIR}
              -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${object}
      COMMAND ${STALLSCOPE_LLVM_STRIP} -g ${object}
      COMMAND ${STALLSCOPE_BPFTOOL} gen skeleton ${object} name ${name}_bpf > ${skeleton}
      DEPENDS ${source} ${records} ${STALLSCOPE_BPF_HEADERS}
      COMMENT "BPF ${name}" VERBATIM)
    list(APPEND skeletons ${skeleton})
  endforeach()
  add_custom_target(${target}_skeletons DEPENDS ${skeletons})
  add_dependencies(${target} ${target}_skeletons)
  target_include_directories(${target} SYSTEM PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/skeletons)
endfunction()
