# One interface target carries the flags every C++ target of the project is built with.
add_library(stallscope_flags INTERFACE)
target_compile_options(stallscope_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Wold-style-cast -Woverloaded-virtual -Werror
  -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports std::string::insert and operator+ as overlapping copies (GCC bug 105651).
  # Where several files are compiled as one (CMAKE_UNITY_BUILD), it takes each of them for a header.
  target_compile_options(stallscope_flags INTERFACE -Wno-restrict -Wno-subobject-linkage)
endif()
if(STALLSCOPE_SANITIZE)
  target_compile_options(stallscope_flags INTERFACE -fsanitize=${STALLSCOPE_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(stallscope_flags INTERFACE -fsanitize=${STALLSCOPE_SANITIZE})
endif()
if(STALLSCOPE_STATIC)
  target_link_options(stallscope_flags INTERFACE -static)
endif()

# stallscope_library(<room> SOURCES ... [DEPENDS ...])
# A room of the tree is one static library. DEPENDS names the rooms it may include; tests/layering_check.py holds the
# includes to the same direction.
function(stallscope_library room)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS;LINK" ${ARGN})
  add_library(stallscope_${room} STATIC ${arg_SOURCES})
  target_include_directories(stallscope_${room} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(stallscope_${room} PUBLIC stallscope_flags ${arg_LINK})
  foreach(dependency IN LISTS arg_DEPENDS)
    target_link_libraries(stallscope_${room} PUBLIC stallscope_${dependency})
  endforeach()
endfunction()
